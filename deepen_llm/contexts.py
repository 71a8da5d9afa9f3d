"""All members' contexts over the same rows, and the fused distributions at their boundaries.

Long, since whatever asks or tells every member is here, and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from deepen_llm.errors import LogitsError
from deepen_llm.fusion import AggregationWeights, Fusion
from deepen_llm.fusion.past import Past
from deepen_llm.gate import Gate, reasons_against
from deepen_llm.members.base import Context, Draft, Member, Reading
from deepen_llm.members.encoding import Prompt
from deepen_llm.structure import Room
from deepen_llm.text import TextAssembler
from deepen_llm.tracing import StepReport
from deepen_llm.weighing import Weighing


@dataclass(frozen=True)
class Ensemble:
    """Members that decode as one.

    Attributes:
        members: The members.
        main: Index of the main model.
        fusion: How their distributions become one.
        weights: How much each counts.
        eos_policy: Who ends a text, ``fused`` or ``main``.
        draft_tokens: The most tokens that are drafted ahead; 0 for none.
        draft_model: Who drafts, a member of the main model's vocabulary that has no say; None for the main model.
        gate: Where they are fused.
    """

    members: Sequence[Member]
    main: int
    fusion: Fusion
    weights: AggregationWeights
    eos_policy: str
    draft_tokens: int = 0
    draft_model: Member | None = None
    gate: Gate = field(default_factory=Gate)

    @property
    def main_model(self) -> Member:
        """The member whose vocabulary tokens are chosen from."""
        return self.members[self.main]


class Step(NamedTuple):
    """One step of a row: a main-model token, and the characters that it completes, for other vocabularies to hear."""

    token: int
    piece: str


class Fused:
    """The fused logits at the boundaries of every row's draft.

    Args:
        logits: ``[P, V_m]``, each row's boundaries one after the other.
        rooms: For each row, how much more fits into the members' context windows at each boundary.
        report: What the logits came from.

    Attributes:
        logits: See above.
        report: See above.
    """

    def __init__(self, logits: Tensor, rooms: Sequence[Sequence[Room]], report: StepReport) -> None:
        self.logits, self.report, self._rooms = logits, report, rooms
        self._first = [0, *accumulate(map(len, rooms))]

    def place(self, row: int, depth: int) -> int:
        """Where in the logits a row's boundary is, ``depth`` drafted tokens on."""
        return self._first[row] + depth

    def at(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The fused logits and the main model's at some places, ``[B, V_m]`` each."""
        if len(places) == len(self.logits):
            return self.logits, self.report.main
        return self.logits[list(places)], self.report.main[list(places)]

    def room(self, row: int, depth: int) -> Room:
        """How much more fits into the context windows there."""
        return self._rooms[row][depth]


class Contexts:
    """All members' contexts over the same rows.

    Args:
        ensemble: The ensemble.
        prompts: For each row, its prompt as each member encodes it.
        given: Whether the text that follows is given, or else the ensemble's own.
    """

    def __init__(self, ensemble: Ensemble, prompts: Sequence[Sequence[Prompt]], *, given: bool = False) -> None:
        self._ensemble, self._given, members = ensemble, given, ensemble.members
        columns = list(zip(*prompts, strict=True)) or [()] * len(members)
        main = ensemble.main_model.vocabulary.fingerprint
        self._by_token = [member.vocabulary.fingerprint == main for member in members]
        backs = [0 if by_token else ensemble.fusion.back for by_token in self._by_token]
        self.each: list[Context] = [
            member.open(list(column), back=back) for member, column, back in zip(members, columns, backs, strict=True)
        ]
        own = ensemble.draft_model
        self.drafting: Context = own.open(list(columns[ensemble.main])) if own else self.each[ensemble.main]
        accelerated = [member.embedding.device.type != "cpu" for member in members]
        self._order = sorted(range(len(members)), key=lambda i: not accelerated[i])  # these go on working on their own
        self._weighing = Weighing(ensemble, columns, given=given)

    @property
    def ids(self) -> list[list[int]]:
        """The main model's token ids of each row."""
        return self.each[self._ensemble.main].ids

    def readable(self, drafts: Sequence[Sequence[Step]]) -> list[int]:
        """For each row, how many steps of a draft all members can read at once, with room for more behind them."""
        lengths = [context.boundaries(heard) for context, heard in self._heard(drafts)]
        rooms = self._rooms(lengths)
        return [sum(min(room) > 0 for room in row[1:]) for row in rooms]

    def can_draft(self, tokens: int) -> bool:
        """Whether so many more tokens fit into the drafting model's context window, in every row."""
        drafting = self._ensemble.draft_model or self._ensemble.main_model
        longest = max(map(len, self.ids), default=0)
        return drafting.context_length is None or longest + tokens <= drafting.context_length

    def fuse(
        self,
        drafts: Sequence[Sequence[Step]],
        unfinished: Sequence[Sequence[bytes]],
        special: Sequence[Sequence[bool]] = (),
    ) -> Fused:
        """The fused logits of the next token, at every boundary of the drafts, no longer than `readable` tells.

        Args:
            drafts: For each row, the steps that may come next.
            unfinished: For each row, the bytes of a character that its text ends inside of at each boundary; there only
                the main model can go on, unless the fusion method reads the others further back.
            special: For each row, where only the main model can tell the next token for another reason; empty for
                nowhere.
        """
        heard, main = self._heard(drafts), self._ensemble.main
        inside = [one for row in unfinished for one in row]
        told = [one for row in special for one in row] or [False] * len(inside)
        alone = [
            "inside a character" if one and not self._ensemble.fusion.back else "at a special token" * other
            for one, other in zip(inside, told, strict=True)
        ]
        readings, alone = self._read(heard, drafts, alone)
        logits = [readings[i].logits if i in readings else None for i in range(len(heard))]
        fused, weights, past = self._fused(readings, alone, drafts, inside)
        fused = self._end_by_policy(fused, readings[main].logits)
        lengths = [
            readings[i].lengths if i in readings else context.boundaries(draft)
            for i, (context, draft) in enumerate(heard)
        ]
        report = StepReport(self._ensemble, logits, weights, fused, alone, past)
        return Fused(fused, self._rooms(lengths), report)

    def check(self, fused: Fused) -> None:
        """Wait for the fused logits.

        Raises:
            LogitsError: They are NaN, or a member's are no distribution.
        """
        for context in self.each:
            context.check()
        if fused.logits.isnan().any():
            raise LogitsError(
                "the fused distribution is NaN", hint="with fusion='deepen' lower relr, or use fusion='surface'"
            )

    def commit(self, steps: Sequence[Sequence[Step]]) -> None:
        """Let every member hear each row's steps."""
        for context, heard in self._heard(steps):
            context.append(heard)
        self._weighing.commit(steps)
        if self._ensemble.draft_model:
            self.drafting.append(_tokens(steps))

    def moved(self, fused: Fused, places: Sequence[int], rows: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Of these rows, those in which a token is not the main model's own choice, where that matters to fusion.

        Args:
            fused: What the tokens were chosen from.
            places: Each row's place there.
            rows: The rows.
            tokens: Their tokens.
        """
        if not self._ensemble.fusion.rereads or all(self._by_token):
            return []
        _, main = fused.at(places)
        own = main.argmax(-1).tolist()
        told = zip(places, rows, tokens, own, strict=True)
        return [row for place, row, token, wanted in told if token != wanted and fused.report.is_fused(place)]

    def reread(self, rows: Sequence[int]) -> None:
        """Encode these rows' text again, in the main model's tokens, for every member that has its vocabulary."""
        if not rows:
            return
        for context, by_token in zip(self.each, self._by_token, strict=True):
            if by_token:
                context.reread(rows)
        if self._ensemble.draft_model:
            self.drafting.reread(rows)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        for context in self._all():
            context.select(rows)
        self._weighing.select(rows)

    def join(self, prompts: Sequence[Sequence[Prompt]], copies: int) -> None:
        """Take in new rows behind the others: ``copies`` of each prompt, which is read once.

        Raises:
            LogitsError: See `check`.
        """
        new = Contexts(self._ensemble, prompts, given=self._given)
        for i in self._order:
            new.each[i].read([()] * len(prompts))
        for context in new.each:
            context.check()
        if copies > 1:
            new.select([row for row in range(len(prompts)) for _ in range(copies)])
        for context, other in zip(self._all(), new._all(), strict=True):
            context.join(other)
        self._weighing.join(new._weighing)

    def rooms(self) -> list[Room]:
        """For each row, how much more fits into the members' context windows."""
        return [room for (room,) in self._rooms([[[len(ids)] for ids in context.ids] for context in self.each])]

    def close(self) -> None:
        """Free all contexts."""
        for context in self._all():
            context.close()

    def _all(self) -> list[Context]:
        return [*self.each, self.drafting] if self._ensemble.draft_model else self.each

    def _heard(self, steps: Sequence[Sequence[Step]]) -> list[tuple[Context, list[Draft]]]:
        """What each member hears: tokens where the vocabulary is the main model's own, else text."""
        pieces: list[Draft] = [[step.piece for step in row] for row in steps]
        forms = [_tokens(steps) if by_token else pieces for by_token in self._by_token]
        return list(zip(self.each, forms, strict=True))

    def _read(
        self, heard: Sequence[tuple[Context, list[Draft]]], drafts: Sequence[Sequence[Step]], alone: list[str]
    ) -> tuple[dict[int, Reading], list[str]]:
        """Readings by member, and for each place why the main model decides alone there; "" where it does not.

        Where it does so at all places, the others are not read; they catch up when they are needed.

        Args:
            heard: What each member hears.
            drafts: For each row, the steps that may come next.
            alone: The reasons that are known before anybody is read.
        """
        main = self._ensemble.main
        readings: dict[int, Reading] = {}
        if (gate := self._ensemble.gate).when != "always":  # it needs the main model's word first
            readings[main] = _reading(*heard[main])
            shut = reasons_against(gate, readings[main].logits, drafts, self._step, self._extended)
            alone = [one or other for one, other in zip(alone, shut, strict=True)]
        for i in self._order:
            if i not in readings and (i == main or not all(alone)):
                readings[i] = _reading(*heard[i])
        return readings, alone

    def _step(self, token: int) -> Step:
        """The step of a token that follows whole characters."""
        return Step(token, TextAssembler().feed(self._ensemble.main_model.vocabulary.surfaces[token] or b""))

    def _extended(self, drafts: Sequence[Sequence[Step]]) -> list[tuple[str, list[bool]]]:
        """`Context.extended` of each member but the main model, with its name."""
        main, members = self._ensemble.main, self._ensemble.members
        heard = enumerate(self._heard(drafts))
        return [(members[i].name, context.extended(draft)) for i, (context, draft) in heard if i != main]

    def _fused(
        self,
        readings: dict[int, Reading],
        alone: Sequence[str],
        drafts: Sequence[Sequence[Step]],
        unfinished: Sequence[bytes],
    ) -> tuple[Tensor, Tensor, Past | None]:
        """Fused logits ``[P, V_m]``, the aggregation weights in force ``[P, N]``, and what came before.

        Args:
            readings: By member; the main model's only, where it decides alone everywhere.
            alone: See `_read`.
            drafts: For each row, the steps that may come next.
            unfinished: See `fuse`, for all places.
        """
        main, count = self._ensemble.main, len(self.each)
        if all(alone):
            self._weighing.skip()
            return readings[main].logits, torch.eye(count)[main].expand(len(alone), -1), None
        past = Past([readings[i].trails for i in range(count)], unfinished)
        fused, weights = self._weighing.fuse([readings[i].logits for i in range(count)], past, alone, drafts)
        return fused, weights, past

    def _rooms(self, lengths: Sequence[Sequence[Sequence[int]]]) -> list[list[Room]]:
        """For each row and boundary, what fits in behind these lengths, ``[N][B][boundaries]``."""
        bounds = [member.context_length or sys.maxsize for member in self._ensemble.members]
        main, rooms = self._ensemble.main, []
        for row in zip(*lengths, strict=True):
            boundaries = zip(*row, strict=False)  # the longest draft that all members can read
            left = [[bound - n for n, bound in zip(place, bounds, strict=True)] for place in boundaries]
            rooms.append([Room(n[main], min([*n[:main], *n[main + 1 :]], default=sys.maxsize)) for n in left])
        return rooms

    def _end_by_policy(self, fused: Tensor, main: Tensor) -> Tensor:
        """Under ``eos_policy="main"`` the main model's argmax alone ends a text."""
        ends = list(self._ensemble.main_model.vocabulary.end_of_text)
        if self._ensemble.eos_policy != "main" or not ends:
            return fused
        is_end = torch.zeros(fused.shape[-1], dtype=torch.bool).index_fill(0, torch.tensor(ends), True)
        is_end = is_end.to(fused.device, non_blocking=True)
        wanted = is_end[main.argmax(-1)].unsqueeze(-1)  # [P, 1]
        return torch.where(wanted, torch.where(is_end, main, -torch.inf), torch.where(is_end, -torch.inf, fused))


def _tokens(steps: Sequence[Sequence[Step]]) -> list[Draft]:
    return [[step.token for step in row] for row in steps]


def _reading(context: Context, drafts: Sequence[Draft]) -> Reading:
    reading = context.read(drafts)
    if reading.logits.device.type == "cpu":  # where there is nothing to wait for
        context.check()
    return reading
