"""The context of a local model: sequences of text, and logits at their boundaries."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import LogitsError
from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.local.model import CausalModel
from deepen_llm.members.local.sequence_text import SequenceText
from deepen_llm.members.local.slots import SlotCache
from deepen_llm.members.local.steps import FixedSteps
from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder
from deepen_llm.vocabulary import Vocabulary


class LogitsMemory(Protocol):
    """Logits by the tokens before them, for a member whose texts come again."""

    def recall(self, ids: Sequence[int]) -> Tensor | None:
        """The logits after these token ids, ``[V_i]``; None where they are not known."""

    def keep(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        """Keep logits ``[V_i]``; returns them as `recall` will."""


class LocalContext(Context):
    """The part of a context that does not depend on the model's cache.

    Args:
        name: The member's name, for messages.
        model: The model.
        vocabulary: Its vocabulary.
        encoder: Its tokenizer.
        prompts: One per sequence.
        back: See `Member.open`.
        recording: Where logits are kept for texts that come again, if anywhere.

    Attributes:
        sequences: The sequences' texts, and the logits that are known of them.
        back: See `Member.open`.
    """

    def __init__(
        self,
        name: str,
        model: CausalModel,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        prompts: Sequence[Prompt],
        back: int = 0,
        recording: LogitsMemory | None = None,
    ) -> None:
        self._name, self._model, self._vocabulary, self._recording = name, model, vocabulary, recording
        self.sequences = [SequenceText(encoder, prompt, vocabulary, back) for prompt in prompts]
        self.back = back
        self._unchecked: list[
            tuple[Tensor, list[tuple[int, int]]]
        ] = []  # tops of logits, and their sequences and lengths

    @override
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        if not self._model.traits.reads_ahead:
            drafts = [()] * len(self.sequences)
        bound = self._model.traits.rescales_at
        return [sequence.boundaries(draft, bound) for sequence, draft in zip(self.sequences, drafts, strict=True)]

    @override
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        return [sequence.added(draft) for sequence, draft in zip(self.sequences, drafts, strict=True)]

    @torch.inference_mode()
    @override
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        lengths = self.boundaries(drafts)
        lengths = [wanted[-1:] for wanted in lengths] if ends_only else lengths
        asked = [(sequence, length) for sequence, wanted in enumerate(lengths) for length in wanted]
        passed = self._passed(lengths) if self.back and not ends_only else []
        before = [
            (sequence, length - k) for (sequence, length), one in zip(asked, passed, strict=False) for k, _ in one
        ]
        fresh = [place for place in sorted({*asked, *before}) if not self._knows(*place)]  # sequence by sequence
        logits = self._fresh(fresh) if fresh else torch.empty(0)
        self._learn(fresh, logits, lengths)
        if fresh != asked:
            logits = torch.stack([self.sequences[sequence].known(length) for sequence, length in asked])
        dropped = [
            self.sequences[sequence].dropped(place)
            for sequence, wanted in enumerate(lengths)
            for place in range(len(wanted))
        ]
        trails = [
            Trail(
                [token for _, token in one],
                [self.sequences[sequence].known(length - k) for k, _ in one],
                [self.sequences[sequence].norm(length - k) for k, _ in one],
                behind,
            )
            for (sequence, length), one, behind in zip(asked, passed, dropped, strict=False)
        ]
        return Reading(logits, lengths, trails)

    @override
    def check(self) -> None:
        unchecked, self._unchecked = self._unchecked, []
        bad = [  # a top is NaN where any logit is
            place
            for tops, places in unchecked
            for place, good in zip(places, tops.isfinite().tolist(), strict=True)
            if not good
        ]
        if bad:
            sequence, length = bad[0]
            raise LogitsError(
                f"member {self._name} gave logits that are no distribution (NaN, +inf or all -inf) "
                f"after token {length} of sequence {sequence}",
                hint="load it with dtype='float32' or 'bfloat16', and try its weights with transformers",
                sequences={sequence for sequence, _ in bad},
            )

    @override
    def append(self, steps: Sequence[Draft]) -> None:
        for sequence, added in zip(self.sequences, steps, strict=True):
            sequence.append(added)

    @override
    def select(self, sequences: Sequence[int]) -> None:
        self.sequences = [self.sequences[sequence].copy() for sequence in sequences]

    @override
    def join(self, other: Context) -> None:
        assert isinstance(other, LocalContext)  # noqa: S101 - a context of the same member, by contract
        self.sequences += other.sequences
        self.back = max(self.back, other.back)  # of the sequences that are read furthest back

    @override
    def reread(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self.sequences[sequence].reread()

    @override
    def close(self) -> None:
        self.select([])

    @property
    @override
    def ids(self) -> list[list[int]]:
        return [sequence.ids for sequence in self.sequences]

    def _passed(self, lengths: Sequence[Sequence[int]]) -> list[list[tuple[int, int]]]:
        """The last tokens before each place, the newest first, and how many tokens back they begin.

        None begin where the model encodes positions in another way than at the place.
        """
        places = [
            (sequence, boundary, length)
            for sequence, wanted in enumerate(lengths)
            for boundary, length in enumerate(wanted)
        ]
        bound = self._model.traits.rescales_at
        first = [bound if bound is not None and length > bound else -1 for *_, length in places]
        return [
            [(k, token) for k, token in enumerate(self.sequences[sequence].trail(boundary), 1) if length - k > low]
            for (sequence, boundary, length), low in zip(places, first, strict=True)
        ]

    def _learn(self, fresh: Sequence[tuple[int, int]], logits: Tensor, lengths: Sequence[Sequence[int]]) -> None:
        """Keep logits for what comes; what is forgotten at the same step is kept in one tensor, and nothing else in it.

        Args:
            fresh: Pairs of a sequence and a number of tokens, as many as there are ``logits``.
            logits: Their logits.
            lengths: See `Reading`; what is kept of drafts is forgotten at any step.
        """
        groups = defaultdict[int, list[int]](list)
        for place, (sequence, length) in enumerate(fresh if self.back else ()):
            groups[place if len(lengths[sequence]) > 1 else length - lengths[sequence][-1]].append(place)
        norms = logits.logsumexp(-1) if groups else None
        for group in groups.values() if norms is not None else [range(len(fresh))]:
            part = logits[group] if len(groups) > 1 else logits
            for one, place in zip(part, group, strict=True):
                sequence, length = fresh[place]
                self.sequences[sequence].learn(length, one, None if norms is None else norms[place])

    def _knows(self, sequence: int, length: int) -> bool:
        """Whether a sequence knows the logits after so many tokens, or learns them from the recording."""
        one = self.sequences[sequence]
        if self._recording is not None and not one.knows(length):
            found = self._recording.recall(one.reading[:length])
            if found is not None:
                one.learn(length, found.to(self._model.device))
        return one.knows(length)

    def _fresh(self, places: list[tuple[int, int]]) -> Tensor:
        """Logits at pairs of a sequence and a number of tokens, fp32 ``[P, V_i]``."""
        logits = self._forward(places).float()[:, : self._vocabulary.size]
        logits[:, self._vocabulary.tokenizer_size :] = -torch.inf
        self._unchecked.append((logits.amax(-1), places))
        if self._recording is not None:
            read = [self.sequences[sequence].reading[:length] for sequence, length in places]
            kept = [self._recording.keep(ids, one) for ids, one in zip(read, logits, strict=True)]
            return torch.stack(kept).to(logits.device)
        return logits

    @abstractmethod
    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        """Read the sequences as far as these places, pairs of a sequence and a number of its tokens, in rising order.

        Returns:
            Logits there, ``[P, V_i]``.
        """


class CachedContext(LocalContext):
    """Key-value caches that are rolled back and extended; each forward reads what is new.

    Args:
        shared: Whether all sequences share one cache, or each has its own (where attention counts slots, as sliding
            windows do, dead slots of one sequence would shorten the window of another).
        arguments: As `LocalContext` takes them.

    Attributes:
        caches: The caches: one for all sequences, or one for each.
    """

    def __init__(self, shared: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        count = len(self.sequences)
        self._shared, self._bound = shared, self._model.traits.rescales_at
        self.caches = [SlotCache(count)] if shared else [SlotCache(1) for _ in range(count)]
        self._steps = FixedSteps(self._model) if shared and self._model.fixed_steps else None

    @override
    def select(self, sequences: Sequence[int]) -> None:
        super().select(sequences)
        if self._shared:
            self.caches[0].select(sequences)
        else:
            self.caches = [self.caches[sequence].copy() for sequence in sequences]

    @override
    def join(self, other: Context) -> None:
        super().join(other)
        assert isinstance(other, CachedContext)  # noqa: S101 - see above
        if self._shared:
            self.caches[0].join(other.caches[0])
        else:
            self.caches += other.caches

    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        if self._shared:
            return self._extend(self.caches[0], range(len(self.sequences)), places)
        sequences = list(dict.fromkeys(sequence for sequence, _ in places))
        return torch.cat(
            [
                self._extend(self.caches[sequence], [sequence], [one for one in places if one[0] == sequence])
                for sequence in sequences
            ]
        )

    def _extend(self, cache: SlotCache, sequences: Sequence[int], places: list[tuple[int, int]]) -> Tensor:
        """Read what is new in the sequences of one cache, as far as the places; logits there, ``[P, V_i]``."""
        texts = [self.sequences[sequence].reading for sequence in sequences]
        wanted = [[length for place, length in places if place == sequence] for sequence in sequences]
        if self._rescaled(cache.lengths, wanted):
            cache.roll_back([[] for _ in sequences])
        # The last token before a place is always read: its logits are what is asked for.
        kept = cache.roll_back(
            [text[: min(ends) - 1 if ends else None] for text, ends in zip(texts, wanted, strict=True)]
        )
        blocks = [text[start : max(ends, default=start)] for text, start, ends in zip(texts, kept, wanted, strict=True)]
        mask, positions = cache.extend(blocks)
        if self._steps and positions.shape[1] == 1 and cache.layers():
            logits, asked = (
                self._steps.read(blocks, cache, positions),
                [sequences.index(sequence) for sequence, _ in places],
            )
            return logits if asked == list(range(len(blocks))) else self._model.rows_of(logits, asked)
        ends = {sequence: start + len(block) for sequence, start, block in zip(sequences, kept, blocks, strict=True)}
        behind = [(sequences.index(sequence), ends[sequence] - length) for sequence, length in places]
        logits = self._model.read(blocks, cache.cache, mask, positions, behind)
        if cache.filled != cache.alive.shape[1]:
            raise LogitsError(
                f"member {self._name} added {cache.filled} of {cache.alive.shape[1]} tokens to its cache, so that it "
                "would not see them",
                hint="load a causal language model; code of its own must extend the cache that its forward is given",
            )
        return logits

    def _rescaled(self, cached: Sequence[int], wanted: Sequence[Sequence[int]]) -> bool:
        """Whether what is cached was encoded in another way than the text will be now."""
        if self._bound is None:
            return False
        return any(
            (count > self._bound) != (max(ends) > self._bound)
            for count, ends in zip(cached, wanted, strict=True)
            if ends
        )


class AfreshContext(LocalContext):
    """A model that cannot be rolled back: each sequence's whole text is read again, without a cache."""

    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        return torch.cat(
            [self._model.read_afresh(self.sequences[sequence].reading[:length]) for sequence, length in places]
        )
