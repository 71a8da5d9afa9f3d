"""A batch's key-value cache in which each sequence can be rolled back alone."""

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
    """Key-value cache ``[B, heads, slots, D]``, with the slot of each token of each sequence.

    A slot is alive for a sequence while it holds one of its tokens; others are dead, and masked. Dead slots at the end
    of all sequences are cut off; once more slots are dead than alive, the live ones are copied to the front. With one
    sequence, no slot is ever dead.

    Args:
        count: Number of sequences B.
    """

    def __init__(self, count: int) -> None:
        self.cache = Cache(layer_class_to_replicate=GrowingLayer)
        self._ids: list[list[int]] = [[] for _ in range(count)]  # cached token ids
        self._slots: list[list[int]] = [[] for _ in range(count)]  # the slot of each of them
        self._alive = torch.zeros(count, 0, dtype=torch.bool)  # [B, slots]

    @property
    def alive(self) -> Tensor:
        """Which slots hold a token of each sequence, bool ``[B, slots]``."""
        return self._alive

    @property
    def lengths(self) -> list[int]:
        """Number of cached tokens of each sequence."""
        return [len(ids) for ids in self._ids]

    def roll_back(self, targets: Sequence[Sequence[int]]) -> list[int]:
        """Keep of each sequence its longest common prefix with its target ids.

        Returns:
            Number of tokens kept of each sequence.
        """
        for sequence, target in enumerate(targets):
            kept = common_prefix(self._ids[sequence], target)
            self._alive[sequence, self._slots[sequence][kept:]] = False
            del self._ids[sequence][kept:], self._slots[sequence][kept:]
        self._trim()
        return self.lengths

    def ids(self, sequence: int) -> list[int]:
        """The cached token ids of a sequence."""
        return self._ids[sequence]

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, without spare slots."""
        return sum(layer.nbytes for layer in self.layers())

    @property
    def filled(self) -> int:
        """Number of slots that the model has filled; after a forward, all of them."""
        return max((layer.keys.shape[2] for layer in self.layers()), default=0)

    def reserve(self) -> int:
        """Give each layer a buffer with a spare slot, a larger one where it must grow.

        Returns:
            Number of slots of the smallest buffer.
        """
        return min(layer.reserve() for layer in self.layers())

    def extend(self, blocks: Sequence[Sequence[int]]) -> tuple[Tensor | None, Tensor]:
        """Add slots for each sequence's new ids, padded on the left to the longest block.

        Returns:
            The attention mask ``[B, slots]``, the new block included, and the block's position ids ``[B, block]``. The
            mask is None where no slot is dead, and the block has one token or nothing before it: then every new token
            attends to all slots before it without a mask.
        """
        longest, before = max(map(len, blocks)), self._alive.shape[1]
        positions = torch.zeros(len(blocks), longest, dtype=torch.long)
        self._alive = F.pad(self._alive, (0, longest))
        for sequence, block in enumerate(blocks):
            first, pad = len(self._ids[sequence]), longest - len(block)
            positions[sequence, pad:] = torch.arange(first, first + len(block))
            self._alive[sequence, before + pad :] = True
            self._slots[sequence] += range(before + pad, before + longest)
            self._ids[sequence] += block
        # Several tokens after others keep their mask: the one that StableLM makes in transformers 5.0 is too long.
        needs_no_mask = bool(self._alive.all()) and (longest == 1 or not before)
        return (None if needs_no_mask else self._alive.long()), positions

    def select(self, sequences: Sequence[int]) -> None:
        """Keep these sequences, in this order; a sequence named twice is copied."""
        index = torch.tensor(sequences, dtype=torch.long)
        for layer in self.layers():
            chosen = index.to(layer.keys.device)
            layer.hold(layer.keys[chosen], layer.values[chosen])
        self._ids = [list(self._ids[sequence]) for sequence in sequences]
        self._slots = [list(self._slots[sequence]) for sequence in sequences]
        self._alive = self._alive[index]

    def join(self, other: SlotCache) -> None:
        """Append another cache's sequences; the shorter cache is padded with dead slots."""
        if not self._ids:
            self.__dict__.update(vars(other))
            return
        longest = max(self._alive.shape[1], other._alive.shape[1])
        parts = [(self.layers(), len(self._ids)), (other.layers(), len(other._ids))]
        if not self.layers():  # nothing was read yet
            self.cache = other.cache
        for i, layer in enumerate(self.layers()):
            layer.hold(
                *(
                    torch.cat([_padded(_states(layers, i, name, layer), count, longest) for layers, count in parts])
                    for name in ("keys", "values")
                )
            )
        self._alive = torch.cat([F.pad(cache.alive, (0, longest - cache.alive.shape[1])) for cache in (self, other)])
        self._ids, self._slots = self._ids + other._ids, self._slots + other._slots

    def part(self, sequence: int, count: int) -> SlotCache:
        """A cache of its own, with the first tokens of one sequence.

        Args:
            sequence: The sequence.
            count: How many of its tokens.
        """
        part, slots = SlotCache(1), self._slots[sequence][:count]
        part.cache.layers = [layer.part(sequence, slots) for layer in self.cache.layers]
        part._ids, part._slots = [self._ids[sequence][:count]], [list(range(count))]
        part._alive = torch.ones(1, count, dtype=torch.bool)
        return part

    def copy(self) -> SlotCache:
        """A second cache with the same content."""
        return copy.deepcopy(self)

    def layers(self) -> list[GrowingLayer]:
        """The layers that hold keys and values."""
        return [layer for layer in self.cache.layers if layer.is_initialized]

    def _trim(self) -> None:
        """Cut off dead slots at the end; copy the live ones to the front once most are dead."""
        needed, slots = max((slots[-1] + 1 for slots in self._slots if slots), default=0), self._alive.shape[1]
        if needed < slots:
            self.cache.crop(needed - slots)
            self._alive = self._alive[:, :needed].clone()
        alive = max(map(len, self._slots), default=0)
        if needed > 2 * alive + _SLACK:
            self._compact(alive)

    def _compact(self, alive: int) -> None:
        """Copy every sequence's live slots to the front."""
        order = torch.zeros(len(self._slots), alive, dtype=torch.long)
        self._alive = torch.zeros(len(self._slots), alive, dtype=torch.bool)
        for sequence, slots in enumerate(self._slots):
            order[sequence, : len(slots)] = torch.tensor(slots)
            self._alive[sequence, : len(slots)] = True
            self._slots[sequence] = list(range(len(slots)))
        for layer in self.layers():
            index = order.to(layer.keys.device)[:, None, :, None]
            held = [states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3])) for states in layer.held]
            layer.hold(*held)


def joined(caches: Sequence[SlotCache]) -> SlotCache:
    """One cache of the sequences of several, which cannot be used afterwards."""
    if not any(cache.layers() for cache in caches):
        return SlotCache(len(caches))
    first = SlotCache(0)
    for cache in caches:
        first.join(cache)
    return first


def _states(layers: Sequence[GrowingLayer], index: int, name: str, like: GrowingLayer) -> Tensor:
    """Keys or values of one of the layers; empty, with the shape of ``like``, where there are no layers."""
    return getattr(layers[index], name) if layers else getattr(like, name)[:0]  # type: ignore[no-any-return]


def _padded(states: Tensor, sequences: int, slots: int) -> Tensor:
    """States ``[B, heads, S, D]``, padded with zeros to this many sequences and slots."""
    return F.pad(states, (0, 0, 0, slots - states.shape[2], 0, 0, 0, sequences - len(states)))


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common prefix.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    first, second = list(first), list(second)  # a tuple equals no list
    equal, end = 0, min(len(first), len(second))
    while equal < end:  # halves of slices, which are compared without a step in Python for each id
        middle = (equal + end + 1) // 2
        if first[equal:middle] == second[equal:middle]:
            equal = middle
        else:
            end = middle - 1
    return equal
