"""The token loop: members read, fusion decides, members hear."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.config import GenerationOptions
from deepen_llm.errors import LogitsError
from deepen_llm.fusion import AggregationWeights, Fusion
from deepen_llm.members.base import Context, Member
from deepen_llm.members.encoding import Prompt
from deepen_llm.row import Row
from deepen_llm.sampling import Sampler
from deepen_llm.tracing import StepReport


@dataclass(frozen=True)
class Ensemble:
    """Members that decode as one.

    Attributes:
        members: The members.
        main: Index of the main model.
        fusion: How their distributions become one.
        weights: How much each counts.
        eos_policy: Who ends a text, ``fused`` or ``main``.
    """

    members: Sequence[Member]
    main: int
    fusion: Fusion
    weights: AggregationWeights
    eos_policy: str

    @property
    def main_model(self) -> Member:
        """The member whose vocabulary tokens are chosen from."""
        return self.members[self.main]


class Contexts:
    """All members' contexts over the same rows, and the fused distribution after them.

    Args:
        ensemble: The ensemble.
        prompts: For each row, its prompt as each member encodes it.
    """

    def __init__(self, ensemble: Ensemble, prompts: Sequence[Sequence[Prompt]]) -> None:
        self._ensemble = ensemble
        self._vocabulary = ensemble.main_model.vocabulary
        columns = zip(ensemble.members, zip(*prompts, strict=True), strict=True)
        self._each: list[Context] = [member.open(list(column)) for member, column in columns]

    def fuse(self, rows: Sequence[Row]) -> tuple[Tensor, StepReport]:
        """The fused logits ``[B, V_m]`` of the next token, and what they came from."""
        logits = [context.logits() for context in self._each]
        weights = self._ensemble.weights.weigh(logits).clone()
        alone = [place for place, row in enumerate(rows) if row.mid_character]
        weights[alone] = torch.eye(len(self._each))[self._ensemble.main]
        fused = self._ensemble.fusion.fuse(logits, weights)
        if fused.isnan().any():
            raise LogitsError("the fused distribution is NaN", hint="lower relr, or use fusion='bayes'")
        return self._end_by_policy(fused, logits[self._ensemble.main]), StepReport(
            self._ensemble, logits, weights, fused
        )

    def commit(self, tokens: Sequence[int], pieces: Sequence[str]) -> None:
        """Let every member hear a step: its token where the vocabulary is the main model's own, else its text."""
        for member, context in zip(self._ensemble.members, self._each, strict=True):
            if member.vocabulary.fingerprint == self._vocabulary.fingerprint:
                context.append_tokens(tokens)
            else:
                context.append_text(pieces)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        for context in self._each:
            context.select(rows)

    def full(self) -> list[bool]:
        """For each row, whether some member's context window is."""
        lengths = [[len(ids) for ids in context.ids] for context in self._each]
        bounds = [member.context_length for member in self._ensemble.members]
        return [
            any(bound and n >= bound for n, bound in zip(row, bounds, strict=True))
            for row in zip(*lengths, strict=True)
        ]

    def main_ids(self) -> list[list[int]]:
        """The main model's ids of each row."""
        return self._each[self._ensemble.main].ids

    def heard(self) -> list[list[str]]:
        """What each member has heard after the prompt, row by row."""
        return [context.heard for context in self._each]

    def close(self) -> None:
        """Free all contexts."""
        for context in self._each:
            context.close()

    def _end_by_policy(self, fused: Tensor, main: Tensor) -> Tensor:
        """Under ``eos_policy="main"`` the main model's argmax alone ends a text."""
        ends = list(self._vocabulary.end_of_text)
        if self._ensemble.eos_policy != "main" or not ends:
            return fused
        is_end = torch.zeros(fused.shape[-1], dtype=torch.bool, device=fused.device)
        is_end[ends] = True
        wanted = is_end[main.argmax(-1)].unsqueeze(-1)  # [B, 1]
        return torch.where(wanted, torch.where(is_end, main, -torch.inf), torch.where(is_end, -torch.inf, fused))


def decode(
    ensemble: Ensemble, prompts: Sequence[Sequence[Prompt]], rows: Sequence[Row], options: GenerationOptions
) -> Generator[None, None, None]:
    """Decode rows together until each has ended; yields after every step, and stops where it is closed.

    Args:
        ensemble: The ensemble.
        prompts: The different prompts, as each member encodes them.
        rows: One per answer, ``options.n`` for each prompt in turn; their text grows here.
        options: How to generate.
    """
    sampler = Sampler(options)
    contexts = Contexts(ensemble, prompts)
    try:
        if options.n > 1:
            contexts.select([place for place in range(len(prompts)) for _ in range(options.n)])
        live = list(rows)
        while live:
            fused, report = contexts.fuse(live)
            tokens = sampler.choose(fused, contexts.main_ids(), [row.generator for row in live])
            pieces = [
                row.commit(token, report, place) for place, (row, token) in enumerate(zip(live, tokens, strict=True))
            ]
            contexts.commit(tokens, pieces)
            for row, full in zip(live, contexts.full(), strict=True):
                row.bound(full)
            yield
            going_on = [place for place, row in enumerate(live) if row.finish_reason is None]
            if len(going_on) < len(live):
                contexts.select(going_on)
                live = [live[place] for place in going_on]
    finally:
        contexts.close()


def score(ensemble: Ensemble, prompt: Sequence[Prompt], tokens: Sequence[int]) -> Generator[Tensor, None, None]:
    """Follow given main-model tokens; yields the fused log-probabilities ``[V_m]`` before each."""
    contexts = Contexts(ensemble, [prompt])
    row = Row(
        ensemble.main_model.vocabulary,
        GenerationOptions(max_new_tokens=max(1, len(tokens))),
        torch.Generator(),
    )
    try:
        for token in tokens:
            fused, report = contexts.fuse([row])
            yield fused[0].log_softmax(-1)
            contexts.commit([token], [row.commit(token, report, 0)])
    finally:
        contexts.close()
