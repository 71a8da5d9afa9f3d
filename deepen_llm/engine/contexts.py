"""All members' contexts over the same rows, and the fused distributions at their boundaries.

Long, since whatever asks or tells every member is here, and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice

import torch
from torch import Tensor

from deepen_llm.engine.ensemble import Ensemble, Step
from deepen_llm.engine.healing import BACK
from deepen_llm.engine.lookahead import LookAhead, look_ahead
from deepen_llm.engine.report import StepReport
from deepen_llm.engine.sharpening import sharpened
from deepen_llm.engine.text import TextAssembler
from deepen_llm.engine.weighing import Places, Weighing
from deepen_llm.errors import LogitsError
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.text.encoding import Draft, Prompt
from deepen_llm.structure import Room


class Fused:
    """The fused logits at the boundaries of every row's draft.

    Args:
        logits: ``[P, V_m]``, each row's boundaries one after the other.
        rooms: For each row, how much more fits into the members' context windows at each boundary.
        report: What the logits came from.
        healed: The places where a member with the main model's vocabulary went on with a token of the prompt.

    Attributes:
        logits: See above.
        report: See above.
        healed: See above.
    """

    def __init__(
        self, logits: Tensor, rooms: Sequence[Sequence[Room]], report: StepReport, healed: frozenset[int]
    ) -> None:
        self.logits, self.report, self._rooms, self.healed = logits, report, rooms, healed
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
        healing: Whether members are read further back, so that prompts that end inside a token can be healed.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        prompts: Sequence[Sequence[Prompt]],
        *,
        given: bool = False,
        healing: bool = False,
    ) -> None:
        self._ensemble, self._given, self._healing, members = ensemble, given, healing, ensemble.members
        columns = list(zip(*prompts, strict=True)) or [()] * len(members)
        main = ensemble.main_model.vocabulary.fingerprint
        self._by_token = [member.vocabulary.fingerprint == main for member in members]
        looked = [0 if by_token else ensemble.fusion.back for by_token in self._by_token]
        self._heals = [healing and not back for back in looked]  # the others are healed by fusion itself
        backs = [
            (ensemble.fusion.back or BACK) if heals else back for heals, back in zip(self._heals, looked, strict=True)
        ]
        self.each: list[Context] = [
            member.open(list(column), back=back) for member, column, back in zip(members, columns, backs, strict=True)
        ]
        own = ensemble.draft_model
        self.drafting: Context = own.open(list(columns[ensemble.main])) if own else self.each[ensemble.main]
        accelerated = [member.device.type != "cpu" for member in members]
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
        answered: Sequence[Sequence[int | None]] = (),
    ) -> Fused:
        """The fused logits of the next token, at every boundary of the drafts, no longer than `readable` tells.

        Args:
            drafts: For each row, the steps that may come next.
            unfinished: For each row, the bytes of a character that its text ends inside of at each boundary; there only
                the main model can go on, unless the fusion method reads the others further back.
            special: For each row, where only the main model can tell the next token for another reason; empty for
                nowhere.
            answered: For each row, how many bytes of the answer stand behind the prompt at each boundary, to heal the
                prompt's end; None for a boundary where there is nothing to heal, empty for nowhere.
        """
        heard, main = self._heard(drafts), self._ensemble.main
        inside = [one for row in unfinished for one in row]
        told = [one for row in special for one in row] or [False] * len(inside)
        alone = [
            "inside a character" if one and not self._ensemble.fusion.back else "at a special token" * other
            for one, other in zip(inside, told, strict=True)
        ]
        behind = [one for row in answered for one in row] or [None] * len(inside)
        readings, alone, ahead = self._read(heard, drafts, inside, alone, behind)
        logits = [readings[i].logits if i in readings else None for i in range(len(heard))]
        fused, weights, past, alone = self._fused(readings, alone, ahead, drafts, inside)
        fused = self._end_by_policy(fused, readings[main].logits)
        lengths = [
            readings[i].lengths if i in readings else context.boundaries(draft)
            for i, (context, draft) in enumerate(heard)
        ]
        evidence = {i: one.evidence for i, one in readings.items() if one.evidence}
        report = StepReport(self._ensemble, logits, weights, fused, alone, past, evidence)
        return Fused(fused, self._rooms(lengths), report, self._healed(evidence, alone))

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
        """Of these rows, those of which the main model is to read its own encoding.

        There a token is not its own choice, and that matters to fusion; or it goes on with a token of the prompt.

        Args:
            fused: What the tokens were chosen from.
            places: Each row's place there.
            rows: The rows.
            tokens: Their tokens.
        """
        healed = [row for place, row in zip(places, rows, strict=True) if place in fused.healed]
        if not self._ensemble.fusion.rereads or all(self._by_token):
            return healed
        _, main = fused.at(places)
        own = main.argmax(-1).tolist()
        told = zip(places, rows, tokens, own, strict=True)
        others = [row for place, row, token, wanted in told if token != wanted and fused.report.is_fused(place)]
        return [*dict.fromkeys([*healed, *others])]

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
        new = Contexts(self._ensemble, prompts, given=self._given, healing=self._healing)
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
        self,
        heard: Sequence[tuple[Context, list[Draft]]],
        drafts: Sequence[Sequence[Step]],
        inside: Sequence[bytes],
        alone: list[str],
        answered: Sequence[int | None],
    ) -> tuple[dict[int, Reading], list[str], LookAhead | None]:
        """Readings by member, why the main model decides alone at each place ("" where not), and what may follow.

        Where it does so at all places, the others are not read; they catch up when they are needed.

        Args:
            heard: What each member hears.
            drafts: For each row, the steps that may come next.
            inside: The bytes of a character begun, at each place.
            alone: The reasons that are known before anybody is read.
            answered: See `fuse`, for all places.
        """
        main, gate = self._ensemble.main, self._ensemble.gate
        readings: dict[int, Reading] = {}
        ahead = None
        if gate.when != "always":  # it needs the main model's word first
            readings[main] = self._reading(main, heard[main], answered)
            own = readings[main].logits
            ahead = None if gate.when == "unsure" else self._ahead(own.argmax(-1).tolist(), drafts, inside)
            shut = self._off_boundary(ahead) if ahead else ["it is sure" * sure for sure in gate.sure(own)]
            alone = [one or other for one, other in zip(alone, shut, strict=True)]
        for i in self._order:
            if i not in readings and (i == main or not all(alone)):
                readings[i] = self._reading(i, heard[i], answered)
        return readings, alone, ahead

    def _reading(self, member: int, heard: tuple[Context, list[Draft]], answered: Sequence[int | None]) -> Reading:
        """What a member says, healed where the fusion method does not see to it."""
        context, drafts = heard
        reading = context.read(drafts)
        if reading.logits.device.type == "cpu":  # where there is nothing to wait for
            context.check()
        return self._ensemble.healer.heal(member, reading, answered) if self._heals[member] else reading

    def _healed(self, evidence: Mapping[int, Sequence[Evidence]], alone: Sequence[str]) -> frozenset[int]:
        """See `Fused`; where the main model decides alone, others are read for the rows beside it only."""
        main, told = self._ensemble.main, [(i, found) for i, found in evidence.items() if self._by_token[i]]
        return frozenset(
            place
            for i, found in told
            for place, (one, why) in enumerate(zip(found, alone, strict=True))
            if one.straddlers and (i == main or not why)
        )

    def _off_boundary(self, ahead: LookAhead) -> list[str]:
        """Why the main model decides alone at each place that is no boundary of the others; "" elsewhere."""
        if self._ensemble.gate.straddle and self._ensemble.fusion.back:
            return [""] * len(ahead.tokens)
        merging = [ahead.merging(place) for place in range(len(ahead.tokens))]
        return ["" if i is None else f"not at a boundary of {self._ensemble.members[i].name}" for i in merging]

    def _ahead(self, tokens: Sequence[int], drafts: Sequence[Sequence[Step]], inside: Sequence[bytes]) -> LookAhead:
        """What follows if the main model's most likely tokens, one at each place, are the next.

        Inside a character there is no boundary of a member that hears text.
        """
        surfaces = self._ensemble.main_model.vocabulary.surfaces
        steps = (Step(token, TextAssembler().feed(surfaces[token] or b"")) for token in tokens)
        following = [list(islice(steps, len(draft) + 1)) for draft in drafts]
        ahead = look_ahead(tokens, drafts, following, self._added)
        for i, added in ahead.added.items():
            if not self._by_token[i]:
                added[:] = [None if begun else one for begun, one in zip(inside, added, strict=True)]
        return ahead

    def _added(self, drafts: Sequence[Sequence[Step]]) -> dict[int, list[list[int] | None]]:
        """`Context.added` of each member but the main model."""
        heard = enumerate(self._heard(drafts))
        return {i: context.added(draft) for i, (context, draft) in heard if i != self._ensemble.main}

    def _fused(
        self,
        readings: dict[int, Reading],
        alone: list[str],
        ahead: LookAhead | None,
        drafts: Sequence[Sequence[Step]],
        unfinished: Sequence[bytes],
    ) -> tuple[Tensor, Tensor, Past | None, list[str]]:
        """Fused logits ``[P, V_m]``, the aggregation weights in force ``[P, N]``, what came before, and who is alone.

        Args:
            readings: By member; the main model's only, where it decides alone everywhere.
            alone: See `_read`.
            ahead: See `_read`.
            drafts: For each row, the steps that may come next.
            unfinished: See `fuse`, for all places.
        """
        ensemble, main, count = self._ensemble, self._ensemble.main, len(self.each)
        if all(alone):
            self._weighing.skip()
            return readings[main].logits, torch.eye(count)[main].expand(len(alone), -1), None, alone
        past = Past([readings[i].trails for i in range(count)], unfinished)
        logits = [readings[i].logits for i in range(count)]
        fused, weights, alone = self._weighing.fuse(logits, past, Places(alone, ahead), drafts)
        if ensemble.gate.sharpen:
            fused = sharpened(fused, ensemble.main_tokens, weights[:, main] < 1)
        return fused, weights, past, alone

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
