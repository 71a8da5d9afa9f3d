"""A batch's key-value cache in which every row can be rolled back on its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache

from deepen_llm.members.local.layers import GrowingLayer

_SLACK = 64  # dead slots that are not worth a copy


class SlotCache:
    """Key-value cache ``[B, heads, slots, D]`` and which token of each row lies in which slot.

    A rolled-back entry is masked; slots at the end that no row needs are cut off, and the rest is copied together once
    more slots are dead than alive. With one row nothing is ever dead.

    Args:
        rows: Number of rows B.
    """

    def __init__(self, rows: int) -> None:
        self.cache = Cache(layer_class_to_replicate=GrowingLayer)
        self._ids: list[list[int]] = [[] for _ in range(rows)]  # cached token ids
        self._slots: list[list[int]] = [[] for _ in range(rows)]  # and the slot of each
        self._alive = torch.zeros(rows, 0, dtype=torch.bool)  # [B, slots]

    @property
    def alive(self) -> Tensor:
        """Which slots hold a token of each row, bool ``[B, slots]``."""
        return self._alive

    @property
    def lengths(self) -> list[int]:
        """Tokens cached in each row."""
        return [len(ids) for ids in self._ids]

    def roll_back(self, targets: Sequence[Sequence[int]]) -> list[int]:
        """Keep of each row what it has in common with its target ids; the number of tokens kept per row."""
        for row, target in enumerate(targets):
            kept = common_prefix(self._ids[row], target)
            self._alive[row, self._slots[row][kept:]] = False
            del self._ids[row][kept:], self._slots[row][kept:]
        self._trim()
        return self.lengths

    @property
    def filled(self) -> int:
        """How many slots the model has filled, which must be as many as there are."""
        return max((layer.keys.shape[2] for layer in self.layers()), default=0)

    def fixed(self) -> int:
        """Give all layers buffers that need not grow for a while; how many slots they have."""
        return min(layer.reserve() for layer in self.layers())

    def extend(self, blocks: Sequence[Sequence[int]]) -> tuple[Tensor | None, Tensor]:
        """Make room for each row's new ids, padded on the left to the longest.

        Returns:
            The attention mask ``[B, slots]`` with the new block, None where every new token sees all slots before it
            without one: none is dead, and there is one new token, or none before; and the block's position ids,
            ``[B, block]``.
        """
        longest, before = max(map(len, blocks)), self._alive.shape[1]
        positions = torch.zeros(len(blocks), longest, dtype=torch.long)
        self._alive = F.pad(self._alive, (0, longest))
        for row, block in enumerate(blocks):
            first, pad = len(self._ids[row]), longest - len(block)
            positions[row, pad:] = torch.arange(first, first + len(block))
            self._alive[row, before + pad :] = True
            self._slots[row] += range(before + pad, before + longest)
            self._ids[row] += block
        # Without a mask, transformers 5.0's StableLM and its kind make one for several tokens that is too long.
        plain = bool(self._alive.all()) and (longest == 1 or not before)
        return (None if plain else self._alive.long()), positions

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        index = torch.tensor(rows, dtype=torch.long)
        for layer in self.layers():
            chosen = index.to(layer.keys.device)
            layer.hold(layer.keys[chosen], layer.values[chosen])
        self._ids = [list(self._ids[row]) for row in rows]
        self._slots = [list(self._slots[row]) for row in rows]
        self._alive = self._alive[index]

    def join(self, other: SlotCache) -> None:
        """Take over another cache's rows, behind the own ones; the shorter cache is padded with dead slots."""
        if not self._ids:
            self.__dict__.update(vars(other))
            return
        longest = max(self._alive.shape[1], other._alive.shape[1])
        own, new = self.layers(), other.layers()
        if not own:  # nothing was read yet
            self.cache = other.cache
        parts = [(own, len(self._ids)), (new, len(other._ids))]
        for place, layer in enumerate(self.layers()):
            layer.hold(
                *(
                    torch.cat([_padded(_states(some, place, name, layer), rows, longest) for some, rows in parts])
                    for name in ("keys", "values")
                )
            )
        alive = [F.pad(one.alive, (0, longest - one.alive.shape[1])) for one in (self, other)]
        self._alive = torch.cat(alive)
        self._ids, self._slots = self._ids + other._ids, self._slots + other._slots

    def copy(self) -> SlotCache:
        """A second cache with the same content."""
        return copy.deepcopy(self)

    def layers(self) -> list[GrowingLayer]:
        """The layers that hold something."""
        return [layer for layer in self.cache.layers if layer.is_initialized]

    def _trim(self) -> None:
        """Cut off dead slots at the end; gather what is alive once most is dead."""
        needed, slots = max((slots[-1] + 1 for slots in self._slots if slots), default=0), self._alive.shape[1]
        if needed < slots:
            self.cache.crop(needed - slots)
            self._alive = self._alive[:, :needed].clone()
        alive = max(map(len, self._slots), default=0)
        if needed > 2 * alive + _SLACK:
            self._compact(alive)

    def _compact(self, alive: int) -> None:
        """Move every row's live entries to the front."""
        order = torch.zeros(len(self._slots), alive, dtype=torch.long)
        self._alive = torch.zeros(len(self._slots), alive, dtype=torch.bool)
        for row, slots in enumerate(self._slots):
            order[row, : len(slots)] = torch.tensor(slots)
            self._alive[row, : len(slots)] = True
            self._slots[row] = list(range(len(slots)))
        for layer in self.layers():
            index = order.to(layer.keys.device)[:, None, :, None]
            held = [states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3])) for states in layer.held]
            layer.hold(*held)


def _states(layers: Sequence[GrowingLayer], place: int, name: str, model: GrowingLayer) -> Tensor:
    """A layer's keys or values; those of no rows, shaped as another's, where nothing was read."""
    return getattr(layers[place], name) if layers else getattr(model, name)[:0]  # type: ignore[no-any-return]


def _padded(states: Tensor, rows: int, slots: int) -> Tensor:
    """States ``[B, heads, S, D]`` with zeros behind, to this many rows and slots."""
    return F.pad(states, (0, 0, 0, slots - states.shape[2], 0, 0, 0, rows - len(states)))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    shortest = min(len(one), len(other))
    if list(one[:shortest]) == list(other[:shortest]):
        return shortest
    return next(place for place in range(shortest) if one[place] != other[place])
