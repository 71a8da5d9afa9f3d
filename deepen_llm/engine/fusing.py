"""One forward of the ensemble: read the members, apply the gate, fuse, sharpen, apply the end-of-text policy."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.gating import closed_before_reading, closed_by_main_model
from deepen_llm.engine.lookahead import GateState
from deepen_llm.engine.report import StepReport
from deepen_llm.engine.sharpening import sharpened
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.engine.weighing import Weighed, check_weights
from deepen_llm.errors import LogitsError
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.members.base import Reading
from deepen_llm.members.text.encoding import Draft
from deepen_llm.structure import TokenBudget


class Fused:
    """The fused logits at the P boundaries of all sequences' drafts.

    Args:
        logits: ``[P, V_m]``, each sequence's boundaries one after the other.
        budgets: For each sequence and boundary, how many tokens still fit into the members' context windows.
        report: The distributions that were fused.
        healed: Positions at which a member with the main model's vocabulary predicts the rest of a token that began in
            the prompt.

    Attributes:
        logits: See above.
        report: See above.
        healed: See above.
    """

    def __init__(
        self, logits: Tensor, budgets: Sequence[Sequence[TokenBudget]], report: StepReport, healed: frozenset[int]
    ) -> None:
        self.logits, self.report, self.healed = logits, report, healed
        self._budgets = budgets
        self._first = [0, *accumulate(map(len, budgets))]

    def position_of(self, sequence: int, depth: int) -> int:
        """Position, in the logits, of the boundary after the first ``depth`` drafted tokens of a sequence."""
        return self._first[sequence] + depth

    def logits_at(self, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The fused logits and the main model's at some positions, which rise, ``[B, V_m]`` each."""
        if len(positions) == len(self.logits):
            return self.logits, self.report.main
        return self.logits[list(positions)], self.report.main[list(positions)]

    def tokens_left(self, sequence: int, depth: int) -> TokenBudget:
        """How many tokens still fit into the context windows after a sequence's boundary."""
        return self._budgets[sequence][depth]

    def check(self) -> None:
        """Wait for the fused logits.

        Raises:
            ConfigError: The aggregation weights at a position are negative or NaN, or their sum is not 1.
            LogitsError: The fused logits at a position are NaN, ``+inf`` or all ``-inf``.
        """
        check_weights(self.report.weights)
        bad = (~self.logits.amax(-1).isfinite()).nonzero()[:, 0].tolist()
        if bad:
            raise LogitsError(
                "the fused logits are no distribution (NaN, +inf or all -inf)",
                hint="with fusion='deepen' lower relr, or use fusion='surface'",
                sequences={bisect_right(self._first, position) - 1 for position in bad},
            )


@dataclass(frozen=True)
class _Read:
    """What was read at P boundaries.

    Attributes:
        readings: By member; the main model's only, where all boundaries are closed.
        gate: Which boundaries are closed.
    """

    readings: Mapping[int, Reading]
    gate: GateState


def fuse(contexts: Contexts, drafts: Sequence[Sequence[Token]], boundaries: Sequence[Sequence[Boundary]]) -> Fused:
    """The fused logits of the next token, at every boundary of the drafts.

    Args:
        contexts: The members' contexts.
        drafts: For each sequence, tokens that may come next, no more than `Contexts.readable` allows.
        boundaries: For each sequence, what is known of its text at each boundary of its draft.
    """
    ensemble, inputs = contexts.ensemble, contexts.as_inputs(drafts)
    flat = [boundary for of_sequence in boundaries for boundary in of_sequence]
    read = _read(contexts, inputs, drafts, flat)
    fused, past = _fused(contexts, read, drafts, flat)
    main_logits = read.readings[ensemble.main].logits
    logits = _end_by_policy(ensemble, fused.logits, main_logits)
    members = range(len(inputs))
    report = StepReport(
        ensemble,
        logits=[read.readings[i].logits if i in read.readings else None for i in members],
        weights=fused.weights,
        fused=logits,
        closed=fused.closed,
        past=past,
        healed=_evidence(read),
    )
    lengths = [read.readings[i].lengths if i in read.readings else contexts.boundaries(i, inputs[i]) for i in members]
    return Fused(logits, contexts.budgets_at(lengths), report, _healed(contexts, read, fused.closed))


def to_reread(
    contexts: Contexts, fused: Fused, positions: Sequence[int], sequences: Sequence[int], tokens: Sequence[int]
) -> list[int]:
    """Of these sequences, those whose text the main model has to encode again once their token is appended.

    A token that completes one of the prompt is merged with it in the text's encoding. A token that is not the main
    model's own choice may be merged, too, which matters to fusion methods that use logits at earlier boundaries.

    Args:
        contexts: The members' contexts.
        fused: The logits that the tokens were chosen from.
        positions: Each sequence's position in them.
        sequences: Their indices.
        tokens: Their tokens.
    """
    healed = [index for position, index in zip(positions, sequences, strict=True) if position in fused.healed]
    if not contexts.ensemble.fusion.rereads or all(map(contexts.takes_tokens, range(len(contexts.by_member)))):
        return healed
    if contexts.ensemble.fusion.has_own_vocabulary:  # none of the tokens is the main model's choice
        return [*dict.fromkeys([*healed, *sequences])]
    _, main_logits = fused.logits_at(positions)
    likeliest = main_logits.argmax(-1).tolist()
    moved = [
        index
        for position, index, token, own in zip(positions, sequences, tokens, likeliest, strict=True)
        if token != own and fused.report.is_fused(position)
    ]
    return [*dict.fromkeys([*healed, *moved])]


def _read(
    contexts: Contexts,
    inputs: Sequence[Sequence[Draft]],
    drafts: Sequence[Sequence[Token]],
    boundaries: Sequence[Boundary],
) -> _Read:
    """Read the members at all boundaries.

    Where the gate depends on the main model's logits, it is read first. Where all boundaries are closed, the others are
    not read; the next forward that needs them reads the text that they have missed.
    """
    ensemble = contexts.ensemble
    readings: dict[int, Reading] = {}
    closed, ahead = closed_before_reading(ensemble, boundaries), None
    if ensemble.gate.when != "always":
        readings[ensemble.main] = _healed_reading(contexts, ensemble.main, inputs[ensemble.main], boundaries)
        main_logits = readings[ensemble.main].logits
        by_main_model, ahead = closed_by_main_model(contexts, main_logits, drafts, boundaries)
        closed = [before or after for before, after in zip(closed, by_main_model, strict=True)]
    for i in contexts.read_order:
        if i not in readings and (i == ensemble.main or not all(closed)):
            readings[i] = _healed_reading(contexts, i, inputs[i], boundaries)
    return _Read(readings, GateState(closed, ahead))


def _healed_reading(
    contexts: Contexts, member: int, inputs: Sequence[Draft], boundaries: Sequence[Boundary]
) -> Reading:
    """One member's reading, healed where the fusion method does not heal it."""
    reading = contexts.read(member, inputs)
    if not contexts.heals[member]:
        return reading
    return contexts.ensemble.healer.heal(member, reading, [boundary.answer_bytes for boundary in boundaries])


def _fused(
    contexts: Contexts, read: _Read, drafts: Sequence[Sequence[Token]], boundaries: Sequence[Boundary]
) -> tuple[Weighed, Past | None]:
    """Fuse the readings; also returns the logits at earlier boundaries that the fusion method used, if any."""
    ensemble, closed = contexts.ensemble, read.gate.closed
    members = range(len(ensemble.members))
    if all(closed):
        contexts.weighing.skip()
        weights = torch.eye(len(members))[ensemble.main].expand(len(closed), -1)
        return Weighed(read.readings[ensemble.main].logits, weights, closed), None
    past = Past([read.readings[i].trails for i in members], [boundary.unfinished for boundary in boundaries])
    fused = contexts.weighing.fuse([read.readings[i].logits for i in members], past, read.gate, drafts)
    if not ensemble.gate.sharpen:
        return fused, past
    # A given token must not become impossible because a shorter one gets its probability.
    given = zip(contexts.weighing.given, drafts, strict=True)
    chosen = [not is_given for is_given, draft in given for _ in range(len(draft) + 1)]
    sharpens = (fused.weights[:, ensemble.main] < 1) & torch.tensor(chosen, device=fused.weights.device)
    return fused._replace(logits=sharpened(fused.logits, ensemble.main_tokens, sharpens)), past


def _evidence(read: _Read) -> dict[int, Sequence[Evidence]]:
    return {i: reading.evidence for i, reading in read.readings.items() if reading.evidence}


def _healed(contexts: Contexts, read: _Read, closed: Sequence[str]) -> frozenset[int]:
    """See `Fused`; where a boundary is closed, only what the main model predicts is taken."""
    return frozenset(
        position
        for i, evidence in _evidence(read).items()
        if contexts.takes_tokens(i)
        for position, (of_position, reason) in enumerate(zip(evidence, closed, strict=True))
        if of_position.straddlers and (i == contexts.ensemble.main or not reason)
    )


def _end_by_policy(ensemble: Ensemble, fused: Tensor, main_logits: Tensor) -> Tensor:
    """Under ``eos_policy="main"`` a text ends where an end-of-text token is the main model's likeliest, and only there.

    Where it does not end and all other tokens have a fused probability of 0, the main model's logits of them are taken.

    Args:
        ensemble: The ensemble.
        fused: Fused logits, ``[P, V_m]``.
        main_logits: The main model's logits, ``[P, V_m]``.
    """
    ends = ensemble.vocabulary.end_of_text
    if ensemble.eos_policy != "main" or not ends:
        return fused
    is_end = _mask(ends, fused)
    ends_here = _mask(ensemble.main_model.vocabulary.end_of_text, main_logits)[main_logits.argmax(-1)]
    ends_here = ends_here.unsqueeze(-1)  # [P, 1]
    if ensemble.fusion.has_own_vocabulary:
        certain = torch.where(_mask(ends[:1], fused), 0.0, -torch.inf)
        return torch.where(ends_here, certain, fused.masked_fill(is_end, -torch.inf))
    certain_end = (fused.isneginf() | is_end).all(-1, keepdim=True) & (fused.amax(-1, keepdim=True) > -torch.inf)
    going_on = torch.where(certain_end, main_logits, fused).masked_fill(is_end, -torch.inf)
    return torch.where(ends_here, main_logits.masked_fill(~is_end, -torch.inf), going_on)


def _mask(tokens: Sequence[int], logits: Tensor) -> Tensor:
    """Which tokens are these, bool ``[V]``."""
    chosen = torch.zeros(logits.shape[-1], dtype=torch.bool).index_fill(0, torch.tensor(tokens, dtype=torch.long), True)
    return chosen.to(logits.device, non_blocking=True)
