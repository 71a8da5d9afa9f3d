"""The key-value cache of a batch: each text's token at position p lies in slot p of the text's row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache

from deepen_llm.members.local.layers import States
from deepen_llm.members.local.slabs import Slab, SlabPool
from deepen_llm.members.memory import buffer_size


class SlotCache:
    """Keys and values of B sequences.

    A sequence is rolled back by setting its length. Buffers grow to powers of two; sequences that are dropped leave
    their rows to the last ones, so that rows without a gap are read. The last slot of the buffers belongs to no text.

    Args:
        count: Number of sequences B.
        pool: Where buffers come from.
    """

    def __init__(self, count: int, pool: SlabPool) -> None:
        self._pool = pool
        self._slab: Slab | None = None
        self._ids: list[list[int]] = [[] for _ in range(count)]  # cached token ids of each sequence
        self._rows = list(range(count))  # the row of each sequence: a permutation
        self._outgrown: list[Slab] = []  # since the last `settle`
        self._spoiled = False

    @property
    def cache(self) -> Cache:
        """What the model's forward takes, once `extend` was called."""
        return self.slab.cache

    @property
    def slab(self) -> Slab:
        """The buffers, once `extend` was called."""
        assert self._slab is not None  # noqa: S101 - see above
        return self._slab

    @property
    def rows(self) -> list[int]:
        """The row of each sequence."""
        return self._rows

    @property
    def order(self) -> list[int]:
        """The sequence in each row."""
        return sorted(range(len(self._rows)), key=self._rows.__getitem__)

    @property
    def lengths(self) -> list[int]:
        """Number of cached tokens of each sequence."""
        return [len(ids) for ids in self._ids]

    def ids(self, sequence: int) -> list[int]:
        """The cached token ids of a sequence."""
        return self._ids[sequence]

    def roll_back(self, targets: Sequence[Sequence[int]]) -> list[int]:
        """Keep of each sequence its longest common prefix with its target ids.

        Returns:
            Number of tokens kept of each sequence.
        """
        for ids, target in zip(self._ids, targets, strict=True):
            del ids[common_prefix(ids, target) :]
        return self.lengths

    @torch.inference_mode()
    def extend(self, blocks: Sequence[Sequence[int]], longest: int) -> tuple[Tensor, Tensor, int | None]:
        """Add each sequence's new ids, padded on the left.

        Args:
            blocks: By sequence.
            longest: The number of ids, with padding, L.

        Returns:
            By row, the ids' positions and their slots, ``[B, L]`` both; padding has position 0. And the position at
            which the block begins in every row, without padding; None where rows differ.
        """
        starts = self.lengths
        self._reserve(len(blocks), 1 + max(start + len(block) for start, block in zip(starts, blocks, strict=True)))
        in_line = len({*starts}) == 1 and all(len(block) == longest for block in blocks)
        if in_line:
            positions = torch.arange(starts[0], starts[0] + longest).expand(len(blocks), -1)
            self._append(blocks)
            return positions, positions, starts[0]
        pads = torch.tensor([longest - len(blocks[sequence]) for sequence in self.order])[:, None]
        first = torch.tensor([starts[sequence] for sequence in self.order])[:, None]
        columns = torch.arange(longest)
        positions = (first - pads + columns).masked_fill(columns < pads, 0)
        self._append(blocks)
        return positions, positions.masked_fill(columns < pads, self.slab.capacity - 1), None

    @torch.inference_mode()
    def select(self, sequences: Sequence[int]) -> None:
        """Keep these sequences, in this order; a sequence named twice is copied."""
        if not sequences:
            self.free()
            return
        ids = [list(self._ids[sequence]) for sequence in sequences]
        rows = [self._rows[sequence] for sequence in sequences]
        count, lengths = len(rows), list(map(len, ids))
        self._rows = self._compacted(rows, lengths) if self._slab else list(range(count))
        self._ids = ids
        self._reserve(count, max(lengths) + 1) if self._slab else None
        if self._spoiled and self._slab is not None:
            used = dict(zip(self._rows, lengths, strict=True))
            for row in range(self._slab.rows):
                self._slab.clear(row, used.get(row, 0))

    @torch.inference_mode()
    def join(self, other: SlotCache) -> None:
        """Append another cache's sequences; the other one cannot be used afterwards."""
        count, length = len(self._ids), max(other.lengths, default=0)
        if not count:
            self.free()
            self.__dict__.update(vars(other))
            other.__dict__.update(vars(SlotCache(len(self._ids), self._pool)))  # nobody frees the buffers twice
            return
        if other._slab is not None:
            self._reserve(count + len(other._ids), max([length, *self.lengths]) + 1)
            self.slab.copy_rows(other._slab, [other._rows[i] for i in range(len(other._ids))], count, length)
        self._ids, self._rows = self._ids + other._ids, self._rows + list(range(count, count + len(other._ids)))
        self._spoiled |= other._spoiled
        other.free()

    @torch.inference_mode()
    def copy(self) -> SlotCache:
        """A second cache with the same content."""
        other = SlotCache(len(self._ids), self._pool)
        other._ids, other._rows, other._spoiled = [list(ids) for ids in self._ids], list(self._rows), self._spoiled
        if self._slab is not None:
            longest = max(self.lengths, default=0)
            other._reserve(len(self._ids), longest + 1)
            other.slab.copy_rows(self._slab, list(range(len(self._ids))), 0, longest)
        return other

    @torch.inference_mode()
    def states(self, sequence: int, count: int) -> list[States | None]:
        """A copy of what each layer holds of a sequence's first tokens."""
        return [layer.states(self._rows[sequence], count) for layer in self.slab.layers]

    @torch.inference_mode()
    def load(self, sequence: int, ids: Sequence[int], states: Sequence[States | None]) -> None:
        """Begin a sequence with tokens that another cache has read.

        Args:
            sequence: The sequence, which has no tokens yet.
            ids: The tokens.
            states: What `states` returned for a text that begins with them.
        """
        self._reserve(len(self._ids), max([len(ids), *self.lengths]) + 1)
        for index, of_layer in enumerate(states):
            layer = self.slab.layer(index)
            if of_layer is not None:
                layer.load(self._rows[sequence], of_layer.first(len(ids)))
        self._ids[sequence] = list(ids)

    def cut(self, lengths: Sequence[int]) -> None:
        """Forget the tokens after the first ones of each sequence: they were not read."""
        for ids, length in zip(self._ids, lengths, strict=True):
            del ids[length:]

    def settle(self) -> None:
        """Give back buffers that were outgrown: all that was read since is finite."""
        outgrown, self._outgrown = self._outgrown, []
        for slab in outgrown if not self._spoiled else ():
            self._pool.give_back(slab)

    def spoil(self) -> None:
        """Let nobody see what texts leave behind: it may not be finite, which masks do not hide."""
        self._spoiled = True

    def free(self) -> None:
        """Drop all sequences, and give the buffers back."""
        self.settle()
        slab, self._slab = self._slab, None
        self._ids, self._rows = [], []
        if slab is not None and not self._spoiled:
            self._pool.give_back(slab)

    def _append(self, blocks: Sequence[Sequence[int]]) -> None:
        for ids, new in zip(self._ids, blocks, strict=True):
            ids += new

    def _reserve(self, rows: int, capacity: int) -> None:
        """Move to other buffers, where these have too few rows or slots, or four times as many as needed."""
        old, rows = self._slab, max(rows, len(self._ids))
        if (
            old is not None
            and (old.rows >= rows and old.capacity >= capacity)
            and old.rows * old.capacity < 4 * math.prod(buffer_size(rows, capacity))
        ):
            return
        new = self._pool.take(rows, capacity)
        if old is not None:
            read = list(range(min(len(self._ids), old.rows)))
            new.copy_rows(old, read, 0, max(self.lengths, default=0))
            self._outgrown.append(old)
        self._slab = new

    def _compacted(self, rows: list[int], lengths: Sequence[int]) -> list[int]:
        """Rows for sequences without a gap, and none for two of them; what lies elsewhere is copied.

        Args:
            rows: The row in which each sequence lies.
            lengths: Their lengths.
        """
        count = len(rows)
        self._reserve(count, max([*lengths, *self.lengths]) + 1)
        placed, taken = [-1] * count, set[int]()
        for index, row in enumerate(rows):
            if row < count and row not in taken:
                placed[index] = row
                taken.add(row)
        free = iter(sorted(set(range(count)) - taken))
        for index, row in enumerate(rows):
            if placed[index] < 0:
                placed[index] = next(free)
                self.slab.copy_rows(self.slab, [row], placed[index], lengths[index])
        return placed


def selected(caches: Sequence[SlotCache], sequences: Sequence[int]) -> list[SlotCache]:
    """Caches of one sequence each, chosen by their indices; one that is named twice is copied, the others are freed."""
    chosen, taken = list[SlotCache](), set[int]()
    for index in sequences:
        chosen.append(caches[index].copy() if index in taken else caches[index])
        taken.add(index)
    for index in set(range(len(caches))) - taken:
        caches[index].free()
    return chosen


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common prefix.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    if type(first) is not type(second):  # a tuple equals no list
        first, second = list(first), list(second)
    equal, end = 0, min(len(first), len(second))
    while equal < end:  # halves of slices, which are compared without a step in Python for each id
        middle = (equal + end + 1) // 2
        if first[equal:middle] == second[equal:middle]:
            equal = middle
        else:
            end = middle - 1
    return equal
