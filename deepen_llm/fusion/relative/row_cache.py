"""A cache of rows of R, of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

_FEW = 4  # up to so many rows are kept at once: few likely tokens are likely again
_MISSES = 8  # missed tokens that are recorded, for each slot


class RowCache:
    """A bounded number of rows; the least recently used are replaced first. Thread-safe.

    Args:
        count: The most rows that are kept; may be 0.
        width: Length of a row.
    """

    def __init__(self, count: int, width: int) -> None:
        self._count = count
        self._store = torch.empty(count, width)  # [C, A]; takes memory only where rows have been kept
        self._slots: OrderedDict[int, int] = OrderedDict()  # token -> slot, the least recently used first
        self._missed: set[int] = set()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[RowCache], tuple[int, int]]:
        """A copy begins empty: its rows are soon computed again."""
        return RowCache, (self._count, self._store.shape[1])

    def load(self, tokens: Sequence[int], out: Tensor) -> tuple[list[int], list[int]]:
        """Copy the cached rows of tokens to the first rows of ``out``, ``[K, A]``.

        Args:
            tokens: Tokens, each once.
            out: As many rows as there are tokens.

        Returns:
            The tokens whose rows were copied, in the order of ``out``, and the others.
        """
        with self._lock:  # other threads replace rows, so they are copied
            cached = [token for token in tokens if token in self._slots]
            for token in cached:
                self._slots.move_to_end(token)
            if cached:
                slots = torch.tensor([self._slots[token] for token in cached])
                torch.index_select(self._store, 0, slots, out=out[: len(cached)])
        copied = set(cached)
        return cached, [token for token in tokens if token not in copied]

    def keep(self, tokens: Sequence[int], rows: Tensor) -> None:
        """Keep the rows ``[K, A]`` of tokens; of more than a few tokens, only of those that were missed before."""
        with self._lock:
            wanted = set(tokens) if len(tokens) <= _FEW else self._missed
            new = [index for index, token in enumerate(tokens) if token in wanted and token not in self._slots]
            if len(self._missed) > _MISSES * self._count:
                self._missed.clear()
            self._missed.update(tokens)
            for index in new[: self._count]:
                self._store[self._slot(tokens[index])] = rows[index]

    def _slot(self, token: int) -> int:
        """Assign a slot to a token that has none: a free one, or that of the least recently used token."""
        free = len(self._slots) < self._count
        self._slots[token] = len(self._slots) if free else self._slots.popitem(last=False)[1]
        return self._slots[token]
