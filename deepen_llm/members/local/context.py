"""The context of a local model: sequences of text, and logits at their boundaries.

Logits at a *position* are those after the first tokens of a sequence: a pair of the sequence's index and their number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import LogitsError
from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.local.model import CausalModel
from deepen_llm.members.local.sequence_text import SequenceText
from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder
from deepen_llm.vocabulary import Vocabulary

Position = tuple[int, int]
"""A sequence's index, and a number of its tokens."""


class LogitsMemory(Protocol):
    """Logits by the tokens before them, for a member that reads the same texts again."""

    def recall(self, ids: Sequence[int]) -> Tensor | None:
        """The logits after these token ids, ``[V_i]``; None where none were kept."""

    def keep(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        """Keep logits ``[V_i]``; returns them as `recall` will."""


class LocalContext(Context):
    """The part of a context that does not depend on the model's cache.

    Args:
        name: The member's name, for errors.
        model: The model.
        vocabulary: Its vocabulary.
        encoder: Its tokenizer.
        prompts: One per sequence.
        back: See `Member.open`.
        recording: Where logits are kept for texts that are read again; None to read every text.

    Attributes:
        sequences: The sequences' texts, and the logits known of them.
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
        self._unchecked: list[tuple[Tensor, list[Position]]] = []  # highest logits [P], and their positions

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
        lengths = [of_sequence[-1:] for of_sequence in lengths] if ends_only else lengths
        positions = [(sequence, length) for sequence, of_sequence in enumerate(lengths) for length in of_sequence]
        passed = self._passed(lengths) if self.back and not ends_only else []
        before = [
            (sequence, length - k)
            for (sequence, length), tokens in zip(positions, passed, strict=False)
            for k, _ in tokens
        ]
        fresh = [position for position in sorted({*positions, *before}) if not self._knows(*position)]
        logits = self._fresh(fresh) if fresh else torch.empty(0)
        self._learn(fresh, logits, lengths)
        if fresh != positions:
            logits = torch.stack([self.sequences[sequence].known(length) for sequence, length in positions])
        dropped = [
            self.sequences[sequence].dropped(boundary)
            for sequence, of_sequence in enumerate(lengths)
            for boundary in range(len(of_sequence))
        ]
        trails = [
            Trail(
                [token for _, token in tokens],
                [self.sequences[sequence].known(length - k) for k, _ in tokens],
                [self.sequences[sequence].norm(length - k) for k, _ in tokens],
                end,
            )
            for (sequence, length), tokens, end in zip(positions, passed, dropped, strict=False)
        ]
        return Reading(logits, lengths, trails)

    @override
    def check(self) -> None:
        unchecked, self._unchecked = self._unchecked, []
        bad = [  # the highest is NaN where any logit is
            position
            for highest, positions in unchecked
            for position, finite in zip(positions, highest.isfinite().tolist(), strict=True)
            if not finite
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
        self.back = max(self.back, other.back)

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
        """For each boundary, how many tokens before it each of the last tokens begins, and its id; the newest first.

        Tokens are left out where the model encodes their positions in another way than the boundary's.
        """
        boundaries = [
            (sequence, boundary, length)
            for sequence, of_sequence in enumerate(lengths)
            for boundary, length in enumerate(of_sequence)
        ]
        bound = self._model.traits.rescales_at
        shortest = [bound if bound is not None and length > bound else -1 for *_, length in boundaries]
        return [
            [(k, token) for k, token in enumerate(self.sequences[sequence].trail(boundary), 1) if length - k > least]
            for (sequence, boundary, length), least in zip(boundaries, shortest, strict=True)
        ]

    def _learn(self, fresh: Sequence[Position], logits: Tensor, lengths: Sequence[Sequence[int]]) -> None:
        """Keep logits for later steps.

        Logits that are dropped at the same step share one tensor with no others, so that dropping them frees memory.

        Args:
            fresh: P positions.
            logits: Their logits, ``[P, V_i]``.
            lengths: See `Reading`; logits of drafts may be dropped at any step.
        """
        groups = defaultdict[int, list[int]](list)
        for i, (sequence, length) in enumerate(fresh if self.back else ()):
            groups[i if len(lengths[sequence]) > 1 else length - lengths[sequence][-1]].append(i)
        norms = logits.logsumexp(-1) if groups else None
        for group in groups.values() if norms is not None else [range(len(fresh))]:
            of_group = logits[group] if len(groups) > 1 else logits
            for at_position, i in zip(of_group, group, strict=True):
                sequence, length = fresh[i]
                self.sequences[sequence].learn(length, at_position, None if norms is None else norms[i])

    def _knows(self, sequence: int, length: int) -> bool:
        """Whether the logits at a position are known, or can be taken from the recording."""
        text = self.sequences[sequence]
        if self._recording is not None and not text.knows(length):
            recalled = self._recording.recall(text.reading[:length])
            if recalled is not None:
                text.learn(length, recalled.to(self._model.device))
        return text.knows(length)

    def _fresh(self, positions: list[Position]) -> Tensor:
        """Logits that the model computes at these positions, fp32 ``[P, V_i]``."""
        logits = self._forward(positions).float()[:, : self._vocabulary.size]
        logits[:, self._vocabulary.tokenizer_size :] = -torch.inf
        self._unchecked.append((logits.amax(-1), positions))
        if self._recording is not None:
            texts = [self.sequences[sequence].reading[:length] for sequence, length in positions]
            kept = [self._recording.keep(ids, at_position) for ids, at_position in zip(texts, logits, strict=True)]
            return torch.stack(kept).to(logits.device)
        return logits

    @abstractmethod
    def _forward(self, positions: list[Position]) -> Tensor:
        """Read the sequences as far as these positions, which are in rising order.

        Returns:
            Logits there, ``[P, V_i]``.
        """
