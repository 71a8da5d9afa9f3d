"""A batch's key-value cache in which every row can be rolled back on its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

_SLACK = 64  # dead slots that are not worth a copy


class SlotCache:
    """Key-value cache ``[B, heads, slots, D]`` and which token of each row lies in which slot.

    A rolled-back entry is masked; slots at the end that no row needs are cut off, and the rest is copied together once
    more slots are dead than alive. With one row nothing is ever dead.

    Args:
        rows: Number of rows B.
        device: Where masks and positions are needed.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.cache = DynamicCache()
        self._device = device
        self._ids: list[list[int]] = [[] for _ in range(rows)]  # cached token ids
        self._slots: list[list[int]] = [[] for _ in range(rows)]  # and the slot of each
        self._length = 0  # slots in the cache

    @property
    def lengths(self) -> list[int]:
        """Tokens cached in each row."""
        return [len(ids) for ids in self._ids]

    def roll_back(self, targets: Sequence[Sequence[int]]) -> list[int]:
        """Keep of each row what it has in common with its target ids; the number of tokens kept per row."""
        for ids, slots, target in zip(self._ids, self._slots, targets, strict=True):
            kept = common_prefix(ids, target)
            del ids[kept:], slots[kept:]
        self._trim()
        return self.lengths

    def extend(self, blocks: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Make room for each row's new ids, padded on the right to the longest.

        Returns:
            The attention mask ``[B, slots]`` with the new block, and the block's position ids ``[B, block]``.
        """
        longest = max(map(len, blocks))
        positions = torch.zeros(len(blocks), longest, dtype=torch.long)
        for row, block in enumerate(blocks):
            first = len(self._ids[row])
            positions[row] = torch.arange(first, first + longest).clamp(max=max(first + len(block) - 1, 0))
            self._slots[row] += range(self._length, self._length + len(block))
            self._ids[row] += block
        self._length += longest
        mask = torch.zeros(len(blocks), self._length, dtype=torch.long)
        for row, slots in enumerate(self._slots):
            mask[row, slots] = 1
        return mask.to(self._device), positions.to(self._device)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        if self._length:
            self.cache.batch_select_indices(torch.tensor(rows, dtype=torch.long, device=self._device))
        self._ids = [list(self._ids[row]) for row in rows]
        self._slots = [list(self._slots[row]) for row in rows]

    def copy(self) -> SlotCache:
        """A second cache with the same content."""
        other = SlotCache(0, self._device)
        other.cache = copy.deepcopy(self.cache)
        other._ids, other._slots = copy.deepcopy(self._ids), copy.deepcopy(self._slots)
        other._length = self._length
        return other

    def _trim(self) -> None:
        needed = max((slots[-1] + 1 for slots in self._slots if slots), default=0)
        if needed < self._length:
            self.cache.crop(needed - self._length)
            self._length = needed
        alive = max(map(len, self._slots), default=0)
        if self._length > 2 * alive + _SLACK:
            self._compact(alive)

    def _compact(self, alive: int) -> None:
        """Move every row's live entries to the front."""
        order = torch.zeros(len(self._slots), alive, dtype=torch.long)
        for row, slots in enumerate(self._slots):
            order[row, : len(slots)] = torch.tensor(slots)
            self._slots[row] = list(range(len(slots)))
        for layer in self.cache.layers:
            index = order.to(layer.keys.device)[:, None, :, None]
            for name in ("keys", "values"):
                states = getattr(layer, name)
                setattr(layer, name, states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3])))
        self._length = alive


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    shortest = min(len(one), len(other))
    if list(one[:shortest]) == list(other[:shortest]):
        return shortest
    return next(place for place in range(shortest) if one[place] != other[place])
