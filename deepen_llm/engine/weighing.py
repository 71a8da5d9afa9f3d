"""How much each member counts in each row while its text goes on, and what is fused by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from deepen_llm.engine.likelihood import standing_weights
from deepen_llm.engine.lookahead import LookAhead, agreeing
from deepen_llm.fusion.past import Past
from deepen_llm.members.text.encoding import Prompt

if TYPE_CHECKING:
    from deepen_llm.engine.ensemble import Ensemble, Step


class Places(NamedTuple):
    """What is known of P places before anything is fused there.

    Attributes:
        alone: For each, why the main model decides alone; "" where it does not.
        ahead: What follows if the main model goes on; None where the gate does not ask.
    """

    alone: list[str]
    ahead: LookAhead | None

    def at(self, places: Sequence[int]) -> Places:
        """The same for these places, in this order."""
        return Places([self.alone[place] for place in places], self.ahead and self.ahead.at(places))


class _Fused(NamedTuple):
    """The fused logits ``[P, V_m]``, the weights in force ``[P, N]``, and why the main model decided alone, ``[P]``."""

    logits: Tensor
    weights: Tensor
    alone: list[str]


class _Boundary(NamedTuple):
    """Rows, and the place in each where they have come as far."""

    rows: list[int]
    places: list[int]


@dataclass(frozen=True)
class _Told:
    """What members said at one boundary of some rows.

    Attributes:
        rows: The rows.
        alone: For each, why the main model decided alone; "" where it did not.
        parts: Each member's part in the mixture (see `deepen_llm.fusion.parts`), ``[N, rows, V_m]``.
    """

    rows: Sequence[int]
    alone: Sequence[str]
    parts: Tensor

    def of(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Each member's part in a token of each of these rows, ``[rows, N]`` on the CPU; 1 where the main was alone."""
        places = [self.rows.index(row) for row in rows]
        shut = torch.tensor([[bool(self.alone[place])] for place in places])
        return self.parts[:, places, tokens].T.cpu().masked_fill(shut, 1.0)


class Weighing:
    """The aggregation weights of B rows.

    Args:
        ensemble: The ensemble.
        columns: For each member, the rows' prompts as it encodes them.
        given: Whether the text that follows is given, or else the ensemble's own.
    """

    def __init__(self, ensemble: Ensemble, columns: Sequence[Sequence[Prompt]], *, given: bool) -> None:
        self._ensemble, self._given = ensemble, given
        self._standing = standing_weights(ensemble, columns)  # [B, N]
        self._told: list[_Told] = []  # for each boundary that was fused, where the weights learn
        self._asked: list[int] = []  # each row's number then

    def fuse(self, logits: Sequence[Tensor], past: Past, places: Places, drafts: Sequence[Sequence[Step]]) -> _Fused:
        """What is fused at every boundary of the drafts.

        Where the weights learn, those at a boundary depend on the drafted tokens before it: boundaries are fused one
        after the other, each of all rows together.

        Args:
            logits: The members' logits, ``[P, V_i]`` each.
            past: What came before.
            places: What is known of them.
            drafts: For each row, the steps that may come next.
        """
        counts = [len(draft) + 1 for draft in drafts]
        if not self._ensemble.weights.learns:
            standing = self._standing.repeat_interleave(torch.tensor(counts), 0)  # [P, N]
            return self._fused(logits, past, places, standing, None)
        self._ensemble.fusion.read(logits, past)
        self._told, self._asked = [], list(range(len(drafts)))
        first, standing = [0, *accumulate(counts)], self._standing
        order, found = list[int](), list[_Fused]()
        for depth in range(max(counts)):
            rows = [row for row, count in enumerate(counts) if depth < count]
            here = _Boundary(rows, [first[row] + depth for row in rows])
            order += here.places
            found.append(self._fused_apart(logits, past, places, standing, here))
            standing = self._learned(standing, depth, drafts)
        if len(found) == 1:
            return found[0]
        back, alone = torch.tensor(order).argsort(), [why for one in found for why in one.alone]
        fused, weights = torch.cat([one.logits for one in found]), torch.cat([one.weights for one in found])
        return _Fused(fused[back.to(fused.device)], weights[back.to(weights.device)], [alone[i] for i in back.tolist()])

    def skip(self) -> None:
        """Know of nothing that members say at the boundaries: the main model decides alone at all of them."""
        self._told = []

    def commit(self, steps: Sequence[Sequence[Step]]) -> None:
        """Learn from each row's steps."""
        if self._ensemble.weights.learns:
            for depth in range(max(map(len, steps), default=0)):
                self._standing = self._learned(self._standing, depth, steps)
            self.skip()

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""
        self._standing = self._standing[list(rows)]
        if self._told:
            self._asked = [self._asked[row] for row in rows]

    def join(self, other: Weighing) -> None:
        """Take in another one's rows behind the own ones."""
        self._standing = torch.cat([self._standing, other._standing])
        self.skip()

    def _fused_apart(
        self, logits: Sequence[Tensor], past: Past, places: Places, standing: Tensor, here: _Boundary
    ) -> _Fused:
        """`_fused` at one boundary of some rows, with what each member said there kept."""
        if here.places != list(range(len(places.alone))):
            logits, past, places = [one[here.places] for one in logits], past.at(here.places), places.at(here.places)
        parts = list[Tensor]()
        found = self._fused(logits, past, places, standing[here.rows], parts)
        self._told.append(_Told(here.rows, found.alone, parts[0] if len(parts) == 1 else torch.cat(parts, 1)))
        return found

    def _fused(
        self,
        logits: Sequence[Tensor],
        past: Past,
        places: Places,
        standing: Tensor,
        parts: list[Tensor] | None,
    ) -> _Fused:
        ensemble, count, (alone, ahead) = self._ensemble, len(logits), places
        said = ensemble.fusion.expected(logits, past) if ensemble.weights.reads_logits else logits
        weights = ensemble.weights.weigh(said, standing).float()
        if ensemble.gate.when == "safe" and ahead and count > 1:
            agreed = agreeing(ensemble.members, ensemble.main, ahead, logits, weights)
            alone = [why or "members agree" * one for why, one in zip(alone, agreed, strict=True)]
        shut = torch.tensor([[bool(why)] for why in alone], device=weights.device)  # [P, 1]
        weights = torch.where(shut, torch.eye(count, device=weights.device)[ensemble.main], weights)
        return _Fused(ensemble.fusion.fuse(logits, weights, past, parts), weights, alone)

    def _learned(self, standing: Tensor, depth: int, steps: Sequence[Sequence[Step]]) -> Tensor:
        """What holds behind the steps at a depth, in the rows that have one there, ``[B, N]``."""
        rows = [row for row, taken in enumerate(steps) if depth < len(taken)]
        if not rows:
            return standing
        vocabulary = self._ensemble.main_model.vocabulary
        tokens = [steps[row][depth].token for row in rows]
        sizes = torch.tensor([len(vocabulary.surfaces[token] or b"") for token in tokens])
        parts = torch.ones(len(rows), standing.shape[1])
        if depth < len(self._told):
            parts = self._told[depth].of([self._asked[row] for row in rows], tokens)
        learned = self._ensemble.weights.learn(standing[rows], parts, sizes, given=self._given)
        return standing.index_copy(0, torch.tensor(rows), learned)
