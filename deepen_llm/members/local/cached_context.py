"""How a local model reads: on key-value caches that are rolled back and extended, or every text afresh."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Context
from deepen_llm.members.context import SHORTEST_PREFIX
from deepen_llm.members.local.context import LocalContext, Position
from deepen_llm.members.local.layers import Block
from deepen_llm.members.local.prefixes import PrefixCache
from deepen_llm.members.local.slots import SlotCache, common_prefix, selected
from deepen_llm.members.local.steps import LENGTHS, FixedSteps


class CachedContext(LocalContext):
    """Key-value caches that are rolled back and extended; each forward reads only the new tokens.

    Args:
        shared: Whether all sequences share one cache. Each has its own where attention counts slots: as positions, or
            in a sliding window.
        prefixes: Texts that the model has read; None to read every prompt from its beginning.
        arguments: As `LocalContext` takes them.

    Attributes:
        caches: The caches: one for all sequences, or one for each.
        prefixes: See above; None once logits were no distribution.
        kept: For each sequence, whether its prompt was read, checked, and kept for prompts that begin alike.
        is_unchecked: Whether a forward has begun since the last check.
        read_by: For each sequence, the state of the weights when it began.
    """

    def __init__(self, shared: bool, prefixes: PrefixCache | None, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._shared, self._bound, self.prefixes = shared, self._model.traits.rescales_at, prefixes
        count, pool = len(self.sequences), self._model.slabs
        self.caches = [SlotCache(count, pool)] if shared else [SlotCache(1, pool) for _ in range(count)]
        self.read_by: list[object] = [self._model.weights_state() if prefixes and count else None] * count
        for i in range(count):
            self._begin(i)
        self.kept = [False] * count
        self.is_unchecked = False

    @override
    def check(self) -> None:
        try:
            super().check()
        except LogitsError as error:
            prefixes, self.prefixes = self.prefixes, None  # keys and values may be wrong, too
            if prefixes is not None:
                for sequence in error.sequences:
                    prefixes.forget(self.sequences[sequence].ids)
            self._spoil()
            raise
        self.is_unchecked = False
        for cache in self.caches:
            cache.settle()
        self._keep([i for i, kept in enumerate(self.kept) if not kept])
        self.kept = [True] * len(self.kept)

    @property
    @override
    def unread(self) -> list[int]:
        if not self._model.traits.reads_in_parts or self._recording is not None:
            return [0] * len(self.sequences)
        cached = [length for cache in self.caches for length in cache.lengths]
        return [len(sequence.reading) - count for sequence, count in zip(self.sequences, cached, strict=True)]

    @torch.inference_mode()
    @override
    def prefill(self, most: int) -> None:
        left = [(i, unread) for i, unread in enumerate(self.unread) if unread > most]
        if left:
            self._forward([(i, len(self.sequences[i].reading) - unread + most) for i, unread in left])

    @override
    def select(self, sequences: Sequence[int]) -> None:
        if self.is_unchecked:
            self._spoil()
        else:
            self._keep([i for i in {*range(len(self.kept))}.difference(sequences) if self.kept[i]])
        self.kept = [self.kept[i] for i in sequences]
        self.read_by = [self.read_by[i] for i in sequences]
        super().select(sequences)
        if self._shared:
            self.caches[0].select(sequences)
        else:
            self.caches = selected(self.caches, sequences)

    @override
    def join(self, other: Context) -> None:
        super().join(other)
        assert isinstance(other, CachedContext)  # noqa: S101 - see above
        self.kept, self.read_by = self.kept + other.kept, self.read_by + other.read_by
        self.prefixes = self.prefixes and other.prefixes
        self.is_unchecked |= other.is_unchecked
        if self._shared:
            self.caches[0].join(other.caches[0])
        else:
            self.caches += other.caches

    def _begin(self, sequence: int) -> None:
        """Begin a sequence with the beginning of its prompt that the model has read for another one."""
        ids = self.sequences[sequence].ids
        if self.prefixes is None or len(ids) <= SHORTEST_PREFIX:
            return
        if found := self.prefixes.find(ids, self.read_by[sequence]):
            cache, index = self._cache_of(sequence)
            cache.load(index, ids[: found.length], found.states)

    def _keep(self, sequences: Sequence[int]) -> None:
        """Keep what was read of sequences for prompts that begin as their texts do, if weights are what they were."""
        long = [i for i in sequences if len(self.sequences[i].ids) >= SHORTEST_PREFIX]
        if self.prefixes is None or not long:
            return
        weights = self._model.weights_state()
        for i in long:
            if self.read_by[i] == weights:
                cache, index = self._cache_of(i)
                read = cache.ids(index)[: common_prefix(cache.ids(index), self.sequences[i].ids)]
                self.prefixes.keep(read, partial(cache.states, index, len(read)), weights)

    def _spoil(self) -> None:
        for cache in self.caches:
            cache.spoil()

    def _cache_of(self, sequence: int) -> tuple[SlotCache, int]:
        """The cache of a sequence, and its index in it."""
        return (self.caches[0], sequence) if self._shared else (self.caches[sequence], 0)

    def _forward(self, positions: list[Position]) -> Tensor:
        self.is_unchecked = True
        if self._shared:
            return self._extend(self.caches[0], range(len(self.sequences)), positions)
        sequences = list(dict.fromkeys(sequence for sequence, _ in positions))
        return torch.cat(
            [
                self._extend(self.caches[i], [i], [position for position in positions if position[0] == i])
                for i in sequences
            ]
        )

    def _extend(self, cache: SlotCache, sequences: Sequence[int], positions: list[Position]) -> Tensor:
        """Read the new tokens of one cache's sequences, as far as the positions; logits there, ``[P, V_i]``."""
        texts = [self.sequences[sequence].reading for sequence in sequences]
        wanted = [[length for i, length in positions if i == sequence] for sequence in sequences]
        if self._rescaled(cache.lengths, wanted):
            cache.roll_back([[] for _ in sequences])
        # The last token before a position is read even where it is cached: the forward gives logits of new tokens only.
        kept = cache.roll_back(
            [text[: min(ends) - 1 if ends else None] for text, ends in zip(texts, wanted, strict=True)]
        )
        blocks = [text[start : max(ends, default=start)] for text, start, ends in zip(texts, kept, wanted, strict=True)]
        try:
            return self._read(cache, sequences, positions, kept, blocks)
        except BaseException:
            cache.cut(kept)
            raise

    def _read(
        self,
        cache: SlotCache,
        sequences: Sequence[int],
        positions: list[Position],
        kept: Sequence[int],
        blocks: Sequence[list[int]],
    ) -> Tensor:
        """Read the blocks of one cache's sequences, of which so many tokens are kept; see `_extend`."""
        longest = max(map(len, blocks))
        fixed = self._fixed_length(cache, longest)
        position_ids, slots, before = cache.extend(blocks, fixed or longest)
        index = {sequence: i for i, sequence in enumerate(sequences)}
        ends = [start + len(block) for start, block in zip(kept, blocks, strict=True)]
        following = [(cache.rows[index[sequence]], ends[index[sequence]] - length) for sequence, length in positions]
        by_row, slab = [blocks[i] for i in cache.order], cache.slab
        if fixed and slab.is_allocated:
            if slab.steps is None:
                slab.steps, slab.weights = FixedSteps(self._model, slab), self._model.weights_state()
            return self._model.logits_of(following, slab.steps.read(by_row, position_ids, slots))
        block = Block(slots, max(ends), before)
        slab.begin(block, max(kept) if block.before is None else block.before)
        logits = self._model.read(by_row, slab.cache, self._model.mask(position_ids, block), position_ids, following)
        if slab.seen != block.total:
            raise LogitsError(
                f"member {self._name} added {slab.seen} of {block.total} tokens to its cache, so that it "
                "would not see them",
                hint="load a causal language model; code of its own must extend the cache that its forward is given",
            )
        return logits

    def _fixed_length(self, cache: SlotCache, longest: int) -> int:
        """The length of the forward of a fixed shape that reads so many tokens; 0 where none does."""
        if not self._shared or not self._model.fixed_steps:
            return 0
        return next((length for length in LENGTHS if length >= longest), 0)

    def _rescaled(self, cached: Sequence[int], wanted: Sequence[Sequence[int]]) -> bool:
        """Whether the cached tokens' positions were encoded in another way than those of the text to read."""
        if self._bound is None:
            return False
        return any(
            (count > self._bound) != (max(ends) > self._bound)
            for count, ends in zip(cached, wanted, strict=True)
            if ends
        )


class AfreshContext(LocalContext):
    """A model that cannot be rolled back: each sequence's whole text is read again, without a cache."""

    def _forward(self, positions: list[Position]) -> Tensor:
        return torch.cat(
            [self._model.read_afresh(self.sequences[sequence].reading[:length]) for sequence, length in positions]
        )
