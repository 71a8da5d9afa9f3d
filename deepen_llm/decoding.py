"""The token loop: members read, fusion decides, members hear."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.errors import LogitsError
from deepen_llm.fusion import AggregationWeights, Fusion
from deepen_llm.generation import GenerationOptions
from deepen_llm.members.base import Context, Member
from deepen_llm.members.encoding import Prompt
from deepen_llm.row import Row
from deepen_llm.sampling import Sampler
from deepen_llm.structure import Room
from deepen_llm.text import TextAssembler
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
        self.each: list[Context] = [member.open(list(column)) for member, column in columns]

    def fuse(self, mid_character: Sequence[bool]) -> tuple[Tensor, StepReport]:
        """The fused logits ``[B, V_m]`` of the next token, and what they came from.

        Args:
            mid_character: For each row, whether its text ends inside a character, where only the main model can go on.
        """
        logits = [context.logits() for context in self.each]
        weights = self._ensemble.weights.weigh(logits).clone()
        weights[torch.tensor(mid_character)] = torch.eye(len(self.each))[self._ensemble.main]
        fused = self._ensemble.fusion.fuse(logits, weights)
        if fused.isnan().any():
            raise LogitsError("the fused distribution is NaN", hint="lower relr, or use fusion='bayes'")
        fused = self._end_by_policy(fused, logits[self._ensemble.main])
        return fused, StepReport(self._ensemble, logits, weights, fused)

    def commit(self, tokens: Sequence[int], pieces: Sequence[str]) -> None:
        """Let every member hear a step: its token where the vocabulary is the main model's own, else its text."""
        for member, context in zip(self._ensemble.members, self.each, strict=True):
            if member.vocabulary.fingerprint == self._vocabulary.fingerprint:
                context.append_tokens(tokens)
            else:
                context.append_text(pieces)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        for context in self.each:
            context.select(rows)

    def rooms(self) -> list[Room]:
        """For each row, how much more fits into the members' context windows."""
        lengths = [[len(ids) for ids in context.ids] for context in self.each]
        bounds = [member.context_length or sys.maxsize for member in self._ensemble.members]
        left = [[bound - n for n, bound in zip(row, bounds, strict=True)] for row in zip(*lengths, strict=True)]
        main = self._ensemble.main
        return [Room(row[main], min([*row[:main], *row[main + 1 :]], default=sys.maxsize)) for row in left]

    def close(self) -> None:
        """Free all contexts."""
        for context in self.each:
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
        live, rooms = list(rows), contexts.rooms()
        while live:
            fused, report = contexts.fuse([row.mid_character for row in live])
            guided = _guided(fused, report.logits[ensemble.main], live)
            chosen = sampler.choose(guided, contexts.each[ensemble.main].ids, [row.generator for row in live])
            tokens = [row.settle(token, room) for row, token, room in zip(live, chosen, rooms, strict=True)]
            pieces = [
                row.commit(token, report, place) for place, (row, token) in enumerate(zip(live, tokens, strict=True))
            ]
            contexts.commit(tokens, pieces)
            rooms = contexts.rooms()
            for row, room in zip(live, rooms, strict=True):
                row.bound(min(room) < 1)
            yield
            going_on = [place for place, row in enumerate(live) if row.finish_reason is None]
            if len(going_on) < len(live):
                contexts.select(going_on)
                live, rooms = [live[place] for place in going_on], [rooms[place] for place in going_on]
    finally:
        contexts.close()


def _guided(fused: Tensor, main: Tensor, rows: Sequence[Row]) -> Tensor:
    """The fused logits, ``-inf`` where a row's structure allows no token.

    Where fusion holds none of the allowed tokens possible (small probabilities become 0 in fp32), the main model's
    logits choose among them.
    """
    masks = [row.allowed() for row in rows]
    if all(mask is None for mask in masks):
        return fused
    free = torch.ones(fused.shape[-1], dtype=torch.bool)
    barred = ~torch.stack([free if mask is None else mask for mask in masks]).to(fused.device)
    guided = fused.masked_fill(barred, -torch.inf)
    lost = guided.isneginf().all(-1, keepdim=True)  # [B, 1]
    return torch.where(lost, main.masked_fill(barred, -torch.inf), guided)


def score(ensemble: Ensemble, prompt: Sequence[Prompt], tokens: Sequence[int]) -> Generator[Tensor, None, None]:
    """Follow given main-model tokens; yields the fused log-probabilities ``[V_m]`` before each."""
    contexts = Contexts(ensemble, [prompt])
    surfaces, text = ensemble.main_model.vocabulary.surfaces, TextAssembler()
    try:
        for token in tokens:
            fused, _ = contexts.fuse([text.mid_character])
            yield fused[0].log_softmax(-1)
            contexts.commit([token], [text.feed(surfaces[token] or b"")])
    finally:
        contexts.close()
