"""How much each member counts in each row while its text goes on, and what is fused by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from deepen_llm.fusion.past import Past
from deepen_llm.members.encoding import Prompt
from deepen_llm.members.likelihood import standing_weights

if TYPE_CHECKING:
    from deepen_llm.contexts import Ensemble, Step


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

    def fuse(
        self, logits: Sequence[Tensor], past: Past, alone: Sequence[str], drafts: Sequence[Sequence[Step]]
    ) -> tuple[Tensor, Tensor]:
        """The fused logits ``[P, V_m]`` at every boundary of the drafts, and the weights in force ``[P, N]``.

        Where the weights learn, those at a boundary depend on the drafted tokens before it: boundaries are fused one
        after the other, each of all rows together.

        Args:
            logits: The members' logits, ``[P, V_i]`` each.
            past: What came before.
            alone: For each place, why the main model decides alone; "" where it does not.
            drafts: For each row, the steps that may come next.
        """
        counts = [len(draft) + 1 for draft in drafts]
        if not self._ensemble.weights.learns:
            standing = self._standing.repeat_interleave(torch.tensor(counts), 0)  # [P, N]
            return self._fused(logits, past, alone, standing, None)
        self._ensemble.fusion.read(logits, past)
        self._told, self._asked = [], list(range(len(drafts)))
        first, standing = [0, *accumulate(counts)], self._standing
        order, found = list[int](), list[tuple[Tensor, Tensor]]()
        for depth in range(max(counts)):
            rows = [row for row, count in enumerate(counts) if depth < count]
            places = [first[row] + depth for row in rows]
            order += places
            found.append(self._fused_apart(logits, past, alone, standing, _Boundary(rows, places)))
            standing = self._learned(standing, depth, drafts)
        if len(found) == 1:
            return found[0]
        back = torch.tensor(order).argsort()
        fused, weights = (torch.cat(some) for some in zip(*found, strict=True))
        return fused[back.to(fused.device)], weights[back.to(weights.device)]

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
        self, logits: Sequence[Tensor], past: Past, alone: Sequence[str], standing: Tensor, here: _Boundary
    ) -> tuple[Tensor, Tensor]:
        """`_fused` at one boundary of some rows, with what each member said there kept."""
        if here.places != list(range(len(alone))):
            logits, past = [one[here.places] for one in logits], past.at(here.places)
            alone = [alone[place] for place in here.places]
        parts = list[Tensor]()
        found = self._fused(logits, past, alone, standing[here.rows], parts)
        self._told.append(_Told(here.rows, alone, parts[0] if len(parts) == 1 else torch.cat(parts, 1)))
        return found

    def _fused(
        self,
        logits: Sequence[Tensor],
        past: Past,
        alone: Sequence[str],
        standing: Tensor,
        parts: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        fusion, aggregation, count = self._ensemble.fusion, self._ensemble.weights, len(logits)
        said = fusion.expected(logits, past) if aggregation.reads_logits else logits
        weights = aggregation.weigh(said, standing).float()
        shut = torch.tensor([[bool(why)] for why in alone], device=weights.device)  # [P, 1]
        weights = torch.where(shut, torch.eye(count, device=weights.device)[self._ensemble.main], weights)
        return fusion.fuse(logits, weights, past, parts), weights

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
