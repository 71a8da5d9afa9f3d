"""The rows of frequent tokens, kept within a bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

_FEW = 4  # rows that are worth keeping at once: the members are sure, so what is likely now will be again
_REMEMBERED = 8  # tokens without a row, for each row kept, of which it is known that they were missed


class RowCache:
    """A bounded number of rows, the least recently used ones given up first; any number of threads may use it.

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
        """A copy begins empty: what is kept is quickly made again."""
        return RowCache, (self._count, self._store.shape[1])

    def load(self, tokens: Sequence[int], out: Tensor) -> tuple[list[int], list[int]]:
        """Copy what is kept of some tokens' rows to the head of ``out``, ``[K, A]``.

        Args:
            tokens: Tokens, each once.
            out: Room for the rows of all of them.

        Returns:
            The tokens whose rows are there now, in that order, and the others.
        """
        with self._lock:  # other threads give up slots: what is read must be a copy
            found = [token for token in tokens if token in self._slots]
            for token in found:
                self._slots.move_to_end(token)
            if found:
                slots = torch.tensor([self._slots[token] for token in found])
                torch.index_select(self._store, 0, slots, out=out[: len(found)])
        kept = set(found)
        return found, [token for token in tokens if token not in kept]

    def keep(self, tokens: Sequence[int], rows: Tensor) -> None:
        """Keep the rows ``[K, A]`` of a few tokens; of many, only of those that were missed before."""
        with self._lock:
            known = set(tokens) if len(tokens) <= _FEW else self._missed
            new = [place for place, token in enumerate(tokens) if token in known and token not in self._slots]
            if len(self._missed) > _REMEMBERED * self._count:
                self._missed.clear()
            self._missed.update(tokens)
            for place in new[: self._count]:
                self._store[self._slot(tokens[place])] = rows[place]

    def _slot(self, token: int) -> int:
        """A slot for a token that has none."""
        free = len(self._slots) < self._count
        self._slots[token] = len(self._slots) if free else self._slots.popitem(last=False)[1]
        return self._slots[token]
