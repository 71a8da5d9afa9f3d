"""The aggregation weights of running sequences, and the fusion with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.likelihood import prompt_weights
from deepen_llm.engine.lookahead import GateState, agreeing
from deepen_llm.engine.own_vocabulary import weights_of_readers
from deepen_llm.engine.tokens import Token
from deepen_llm.errors import ConfigError
from deepen_llm.fusion.past import Past, Trail
from deepen_llm.members.base import Reading
from deepen_llm.members.text.encoding import Prompt

_ROUNDING = 1e-3  # by which a sum of weights may differ from 1


class Weighed(NamedTuple):
    """What was fused at P boundaries.

    Attributes:
        logits: The fused logits, ``[P, V_m]``.
        weights: The aggregation weights in force, ``[P, N]``.
        closed: For each boundary, why the main model's distribution was taken; "" where it was fused.
    """

    logits: Tensor
    weights: Tensor
    closed: list[str]


class _Depth(NamedTuple):
    """The boundaries at one depth of the drafts: indices of the sequences that have one, and its position in each."""

    sequences: list[int]
    positions: list[int]


@dataclass(frozen=True)
class _Parts:
    """How likely each token was to each member, at one depth of the drafts.

    Attributes:
        sequences: Indices of the sequences that had a boundary there.
        closed: For each, why the main model's distribution was taken; "" where it was fused.
        parts: Each member's part in the mixture (see `deepen_llm.fusion.parts`), ``[N, sequences, V_m]``.
    """

    sequences: Sequence[int]
    closed: Sequence[str]
    parts: Tensor

    def of(self, sequences: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Each member's part in a token of each sequence, ``[B, N]`` on the CPU; 1 where nothing was fused."""
        indices = [self.sequences.index(sequence) for sequence in sequences]
        closed = torch.tensor([[bool(self.closed[index])] for index in indices])
        return self.parts[:, indices, tokens].T.cpu().masked_fill(closed, 1.0)


class Weighing:
    """The aggregation weights of B sequences.

    Args:
        ensemble: The ensemble.
        columns: For each member, the sequences' prompts as it encodes them.
        given: Whether the tokens that follow are given, rather than chosen by the ensemble.

    Attributes:
        given: For each sequence, whether its tokens are given.
        left_out: Which members have failed in each sequence, so that their weights are 0, bool ``[B, N]``.
    """

    def __init__(self, ensemble: Ensemble, columns: Sequence[Sequence[Prompt]], *, given: bool) -> None:
        self._ensemble, self.given = ensemble, [given] * len(columns[0])
        self._state = prompt_weights(ensemble, columns)  # [B, N]; updated by weights that learn
        self.left_out = torch.zeros(len(self.given), len(ensemble.members), dtype=torch.bool)
        self._any_left_out = False
        self._parts: list[_Parts] = []  # by depth, for weights that learn
        self._fused_as: list[int] = []  # for each sequence, its index when the parts were fused

    def fuse(self, logits: Sequence[Tensor], past: Past, gate: GateState, drafts: Sequence[Sequence[Token]]) -> Weighed:
        """Fuse at every boundary of the drafts.

        Weights that learn depend, at a boundary, on the drafted tokens before it. So the depths of the drafts are fused
        one after the other, each for all sequences together.

        Args:
            logits: The members' logits, ``[P, V_i]`` each.
            past: The members' logits at earlier boundaries.
            gate: Which boundaries are closed.
            drafts: For each sequence, tokens that may come next.
        """
        counts = [len(draft) + 1 for draft in drafts]
        if not self._ensemble.weights.learns:
            state, left_out = (_repeated(of_sequence, counts) for of_sequence in (self._state, self.left_out))
            return self._fused(logits, past, gate, state, left_out, None)
        self._ensemble.fusion.read(logits, past)
        return self._fused_by_depth(logits, past, gate, drafts, counts)

    def leave_out(self, member: int, sequences: Iterable[int]) -> bool:
        """Give a member the weight 0 in some sequences from now on; returns whether it had another in any of them."""
        indices = list(sequences)
        is_new = not bool(self.left_out[indices, member].all())
        self._any_left_out = True
        self.left_out[indices, member] = True
        return is_new

    def without_failed(self, member: int, reading: Reading) -> Reading:
        """A member's reading with logits of 0, and without trails, in the sequences that it is left out of."""
        if not self._any_left_out:
            return reading
        failed = _repeated(self.left_out[:, member], list(map(len, reading.lengths)))
        trails = [Trail.of() if fails else trail for fails, trail in zip(failed, reading.trails, strict=False)]
        logits = reading.logits.masked_fill(failed.to(reading.logits.device)[:, None], 0.0)
        return replace(reading, logits=logits, trails=trails)

    def skip(self) -> None:
        """Forget the last fusion: every boundary was closed, or the sequences have changed."""
        self._parts = []

    def commit(self, tokens: Sequence[Sequence[Token]]) -> None:
        """Let the weights learn from each sequence's tokens."""
        if self._ensemble.weights.learns:
            for depth in range(max(map(len, tokens), default=0)):
                self._state = self._learned(self._state, depth, tokens)
            self.skip()

    def select(self, sequences: Sequence[int]) -> None:
        """Keep these sequences, by their indices, in this order; one that is named twice is copied."""
        self._state = self._state[list(sequences)]
        self.given = [self.given[index] for index in sequences]
        self.left_out = self.left_out[list(sequences)]
        if self._parts:
            self._fused_as = [self._fused_as[index] for index in sequences]

    def join(self, other: Weighing) -> None:
        """Append the sequences of another one."""
        self._state = torch.cat([self._state, other._state])
        self.given += other.given
        self.left_out = torch.cat([self.left_out, other.left_out])
        self._any_left_out |= other._any_left_out
        self.skip()

    def _fused_by_depth(
        self,
        logits: Sequence[Tensor],
        past: Past,
        gate: GateState,
        drafts: Sequence[Sequence[Token]],
        counts: Sequence[int],
    ) -> Weighed:
        self._parts, self._fused_as = [], list(range(len(drafts)))
        first, state = [0, *accumulate(counts)], self._state
        order, by_depth = list[int](), list[Weighed]()
        for depth in range(max(counts)):
            sequences = [index for index, count in enumerate(counts) if depth < count]
            here = _Depth(sequences, [first[index] + depth for index in sequences])
            order += here.positions
            by_depth.append(self._fused_at(here, logits, past, gate, state))
            state = self._learned(state, depth, drafts)
        return _in_order(by_depth, order)

    def _fused_at(self, here: _Depth, logits: Sequence[Tensor], past: Past, gate: GateState, state: Tensor) -> Weighed:
        """`_fused` at one depth of the drafts, with each member's part kept."""
        if here.positions != list(range(len(gate.closed))):
            logits = [of_member[here.positions] for of_member in logits]
            past, gate = past.at(here.positions), gate.at(here.positions)
        parts = list[Tensor]()
        fused = self._fused(logits, past, gate, state[here.sequences], self.left_out[here.sequences], parts)
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        self._parts.append(_Parts(here.sequences, fused.closed, joined))
        return fused

    def _fused(
        self,
        logits: Sequence[Tensor],
        past: Past,
        gate: GateState,
        state: Tensor,
        left_out: Tensor,
        parts: list[Tensor] | None,
    ) -> Weighed:
        ensemble, count, (closed, ahead) = self._ensemble, len(logits), gate
        expected = ensemble.fusion.expected(logits, past) if ensemble.weights.reads_logits else logits
        weights = ensemble.weights.per_token(expected, state).float()
        if self._any_left_out:
            weights = _without(weights, left_out.to(weights.device), ensemble.main)
        if ensemble.gate.when == "safe" and ahead and count > 1:
            agreed = agreeing(ensemble.members, ensemble.main, ahead, logits, weights)
            closed = [reason or "members agree" * agree for reason, agree in zip(closed, agreed, strict=True)]
        if ensemble.fusion.has_own_vocabulary and not ensemble.fusion.back:
            weights = weights_of_readers(weights, past.unfinished, ensemble.takes_tokens, left_out)
        is_closed = torch.tensor([[bool(reason)] for reason in closed], device=weights.device)  # [P, 1]
        weights = torch.where(is_closed, torch.eye(count, device=weights.device)[ensemble.main], weights)
        return Weighed(ensemble.fusion.fuse(logits, weights, past, parts), weights, closed)

    def _learned(self, state: Tensor, depth: int, tokens: Sequence[Sequence[Token]]) -> Tensor:
        """The state after the tokens at a depth, in the sequences that have one there, ``[B, N]``."""
        for given in (False, True):
            sequences = [
                index
                for index, (of_sequence, is_given) in enumerate(zip(tokens, self.given, strict=True))
                if depth < len(of_sequence) and is_given is given
            ]
            if sequences:
                ids = [tokens[index][depth].id for index in sequences]
                learned = self._learned_from(state, depth, sequences, ids, given=given)
                state = state.index_copy(0, torch.tensor(sequences), learned)
        return state

    def _learned_from(
        self, state: Tensor, depth: int, sequences: Sequence[int], ids: Sequence[int], *, given: bool
    ) -> Tensor:
        surfaces = self._ensemble.vocabulary.surfaces
        sizes = torch.tensor([len(surfaces[id_] or b"") for id_ in ids])
        parts = torch.ones(len(sequences), state.shape[1])
        if depth < len(self._parts):
            parts = self._parts[depth].of([self._fused_as[index] for index in sequences], ids)
        return self._ensemble.weights.learn(state[list(sequences)], parts, sizes, given=given)


def _repeated(of_sequences: Tensor, counts: Sequence[int]) -> Tensor:
    """A value of each sequence, at each of its boundaries."""
    return of_sequences if max(counts, default=1) == 1 else of_sequences.repeat_interleave(torch.tensor(counts), 0)


def _without(weights: Tensor, left_out: Tensor, main: int) -> Tensor:
    """Weights ``[P, N]`` that are 0 where members are left out; the main model has all where no other is left."""
    rest = weights.masked_fill(left_out, 0.0)
    total, only_main = rest.sum(-1, keepdim=True), torch.eye(weights.shape[1], device=weights.device)[main]
    rest = torch.where(total > 0, rest / total, only_main)
    return torch.where(left_out.any(-1, keepdim=True), rest, weights)


def check_weights(weights: Tensor) -> None:
    """Check that aggregation weights ``[P, N]`` are shares at each position.

    Raises:
        ConfigError: One is negative or NaN, or the sum at a position is not 1.
    """
    usable = (weights >= 0).all(-1) & ((weights.sum(-1) - 1).abs() <= _ROUNDING)
    if not usable.all():
        found = [round(weight, 4) for weight in weights[~usable][0].tolist()]
        raise ConfigError(
            f"expected aggregation weights that are not negative and sum to 1 at every position, got {found}",
            hint="correct `per_prompt`, `per_token` or `learn` of your AggregationWeights",
        )


def _in_order(by_depth: Sequence[Weighed], order: Sequence[int]) -> Weighed:
    """The depths' results joined and sorted by position; ``order`` holds the positions as they are joined."""
    if len(by_depth) == 1:
        return by_depth[0]
    index, closed = torch.tensor(order).argsort(), [reason for fused in by_depth for reason in fused.closed]
    logits, weights = torch.cat([fused.logits for fused in by_depth]), torch.cat([fused.weights for fused in by_depth])
    return Weighed(
        logits=logits[index.to(logits.device)],
        weights=weights[index.to(weights.device)],
        closed=[closed[i] for i in index.tolist()],
    )
