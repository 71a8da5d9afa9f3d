"""Keys and values of texts that were read, for prompts that begin as they do: system prompts, histories, templates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from deepen_llm.members.context import SHORTEST_PREFIX
from deepen_llm.members.local.layers import States
from deepen_llm.members.local.slots import common_prefix
from deepen_llm.members.memory import free_memory

_MOST_TEXTS = 64
_SHARE = 0.1  # of the device's free memory


class Prefix(NamedTuple):
    """A beginning that a model has read.

    Attributes:
        length: How many tokens.
        states: What each layer holds of a text that begins with them; None for a layer that holds nothing.
    """

    length: int
    states: Sequence[States | None]


@dataclass(frozen=True)
class _Text:
    ids: Sequence[int]
    states: Sequence[States | None]

    @property
    def nbytes(self) -> int:
        return sum(states.nbytes for states in self.states if states is not None)


class PrefixCache:
    """Keys and values of the texts that one model has read last, by token ids.

    A text that another one begins with is not kept beside it. The least recently used text is dropped first, once there
    are 64, or all together take more than a tenth of the device's free memory. Threads may share a prefix cache.

    Args:
        device: Where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._lock = device, threading.Lock()
        self._texts: list[_Text] = []  # the least recently used one first
        self._weights: object = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy without texts."""
        return PrefixCache, (self._device,)

    def find(self, ids: Sequence[int], weights: object) -> Prefix | None:
        """The longest known beginning of a text; None where none is long enough.

        Args:
            ids: The text.
            weights: What the model's weights are now (`weights_state`); what other weights have read is dropped.
        """
        with self._lock:
            self._keep_only(weights)
            lengths = [common_prefix(text.ids, ids) for text in self._texts]
            longest = max(lengths, default=0)
            if longest < SHORTEST_PREFIX:
                return None
            found = self._texts.pop(lengths.index(longest))
            self._texts.append(found)
        return Prefix(longest, found.states)

    def keep(self, ids: Sequence[int], states: Callable[[], Sequence[States | None]], weights: object) -> None:
        """Keep a text.

        Args:
            ids: The text.
            states: Returns a copy of what each layer holds of it.
            weights: See `find`.
        """
        if len(ids) < SHORTEST_PREFIX:
            return
        with self._lock:
            self._keep_only(weights)
            if any(common_prefix(text.ids, ids) == len(ids) for text in self._texts):
                return
            self._texts = [text for text in self._texts if common_prefix(text.ids, ids) < len(text.ids)]
            try:
                self._texts.append(_Text(list(ids), states()))
            except torch.OutOfMemoryError:  # what decodes needs the memory
                self._texts = []
            self._drop_oldest()

    def _keep_only(self, weights: object) -> None:
        if weights != self._weights:
            self._texts, self._weights = [], weights

    def _drop_oldest(self) -> None:
        sizes = [text.nbytes for text in self._texts]
        free = free_memory(self._device)
        while self._texts and (
            len(self._texts) > _MOST_TEXTS or (free is not None and sum(sizes) > _SHARE * (free + sum(sizes)))
        ):
            del self._texts[0], sizes[0]
