"""Keys and values of texts that were read, for prompts that begin as they do: system prompts, histories, templates."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from deepen_llm.members.context import SHORTEST_PREFIX
from deepen_llm.members.local.layers import States
from deepen_llm.members.local.slots import common_prefix
from deepen_llm.members.memory import free_memory

_LOG = logging.getLogger(__name__)
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
    ids: list[int]
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
        self._device = device
        # A garbage collection inside of a method may call another one, by a stream that nobody refers to any more.
        self._lock = threading.RLock()
        self._texts: tuple[_Text, ...] = ()  # the least recently used one first
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
            begun = [(common_prefix(text.ids, ids), text) for text in self._alike(ids)]
            if not begun:
                return None
            longest, found = max(begun, key=lambda one: one[0])
            self._texts = (*(text for text in self._texts if text is not found), found)
        return Prefix(longest, found.states)

    def keep(self, ids: Sequence[int], states: Callable[[], Sequence[States | None]], weights: object) -> None:
        """Keep a text; all texts are dropped where there is no memory for it.

        Args:
            ids: The text.
            states: Returns a copy of what each layer holds of it.
            weights: See `find`.
        """
        with self._lock:
            self._keep_only(weights)
            if len(ids) < SHORTEST_PREFIX or any(common_prefix(text.ids, ids) == len(ids) for text in self._alike(ids)):
                return
            try:
                new = _Text(list(ids), states())
            except RuntimeError as error:  # of memory; what decodes needs it
                _LOG.info("a prompt's beginning is not kept: %s", error)
                self._texts = ()
                return
            begun = [text for text in self._alike(ids) if common_prefix(text.ids, ids) == len(text.ids)]
            kept = [*(text for text in self._texts if not any(text is one for one in begun)), new]
            self._texts = tuple(self._within_bounds(kept))

    def forget(self, ids: Sequence[int]) -> None:
        """Drop the texts that begin as this one does."""
        with self._lock:
            alike = self._alike(ids)
            self._texts = tuple(text for text in self._texts if not any(text is one for one in alike))

    def _alike(self, ids: Sequence[int]) -> list[_Text]:
        """The texts that share as many first tokens with this one as are worth to take."""
        first = list(ids[:SHORTEST_PREFIX])
        return [text for text in self._texts if len(first) == SHORTEST_PREFIX and text.ids[:SHORTEST_PREFIX] == first]

    def _keep_only(self, weights: object) -> None:
        if weights != self._weights:
            self._texts, self._weights = (), weights

    def _within_bounds(self, texts: list[_Text]) -> list[_Text]:
        """The texts that were used last, as many as may be kept."""
        texts, free = texts[-_MOST_TEXTS:], free_memory(self._device)
        sizes = [text.nbytes for text in texts]
        while texts and free is not None and sum(sizes) > _SHARE * (free + sum(sizes)):
            del texts[0], sizes[0]
        return texts
