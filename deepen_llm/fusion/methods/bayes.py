"""Bayes' rule as the inverse transformation, in a calibrated space over pairwise anchors.

Read ``R_m[v, a]`` as P(anchor a | token v). Then another member's relative distribution goes back to main tokens by

    q_i(v) = p_m(v) · Σ_a R_m[v, a] · r_i(a) / (p_m R_m)(a)

which is one EM step on the paper's own objective: closed form, a distribution as it stands, no rate and no steps.

A main model that is sure of a wrong token leaves hardly any prior for the right one; a further round takes the fused
distribution as the prior, in place of ``p_m`` (docs/study.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from deepen_llm.fusion.base import Fusible, Fusion
from deepen_llm.fusion.parts import parts as parts_of
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.relative.anchoring import AnchorGroup
from deepen_llm.fusion.relative.method import RelativeMethod
from deepen_llm.fusion.relative.rows import Rows
from deepen_llm.fusion.shared_vocabulary import in_main_ids
from deepen_llm.fusion.tunable import Number, Sweep, Tunable


class Bayes(RelativeMethod):
    """Fused distribution ``λ_m p_m + Σ λ_i q_i``; every default that differs from the paper's is an option.

    Attributes:
        rounds: How many times it is computed: in a further round the fused distribution of the one before is the prior
            of every ``q_i``, in place of the main model's own.
    """

    title: ClassVar[str] = "Bayes' rule in a calibrated relative space of embeddings"
    reference: ClassVar[str] = "docs/method.md, Bayes' rule"
    mixes: ClassVar[bool] = True
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Number("rounds", 1, 5, label="rounds of Bayes' rule", sweep=Sweep((1, 2, 3, 4, 5, 7, 10), loss=True)),
        *RelativeMethod.tunables,
    )
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = ({"rounds": 1}, {"rounds": 3})
    method: Literal["bayes"] = "bayes"
    rounds: int = Field(3, ge=1, le=100)
    center: bool = True
    normalize_rows: bool = False
    temperature: float | None = Field(None, gt=0)
    self_mass: float | None = Field(0.9, gt=0, lt=1)
    anchors: Literal["joint", "pairwise"] = "pairwise"

    @override
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        own = members[main].vocabulary.fingerprint
        strangers = [i for i, member in enumerate(members) if member.vocabulary.fingerprint != own]
        groups = [[main, *strangers]] if self.anchors == "joint" else [[main, i] for i in strangers]
        spaces = self._spaces(members, groups, main) if strangers else []
        return _BayesFusion(self, members, main, spaces)


class _BayesFusion(Fusion):
    def __init__(self, method: Bayes, members: Sequence[Fusible], main: int, groups: Sequence[AnchorGroup]) -> None:
        super().__init__(members, main, portion=method.portion(groups))
        self._method, self._groups = method, groups

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_behind(logits, weights, None, None)

    def _fuse_behind(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        p = [one.softmax(-1) for one in logits]  # N of [B, V_i]
        strangers = {i: group for group in self._groups for i in group if i != self.main}
        kept, prior, said = torch.zeros_like(p[self.main]), p[self.main], dict[int, Tensor]()
        for i in set(range(len(p))) - set(strangers):
            said[i] = in_main_ids(p[i].to(prior.device), self._roles[i], self._roles[self.main], prior.shape[1])
            kept += weights[:, i : i + 1] * said[i]
        if strangers:
            relative = {i: group[i].view(p[i], self._method).to_anchors_once(p[i]) for i, group in strangers.items()}
            for _ in range(self._method.rounds):
                said |= self._brought_back(relative, prior)
                prior = kept + sum(weights[:, i : i + 1] * said[i] for i in strangers)
        fused = prior if strangers else kept
        if parts is not None:
            parts.append(parts_of([said[i] for i in range(len(p))], fused))
        return fused.log() + logits[self.main].logsumexp(-1, keepdim=True)  # on the scale of the main model's logits

    def _brought_back(self, relative: Mapping[int, Tensor], prior: Tensor) -> dict[int, Tensor]:
        """``q_i`` of each member with another vocabulary, ``[B, V_m]``.

        Args:
            relative: Their distributions in the relative spaces, by member, ``[B, A]`` each.
            prior: What stands for the main model's distribution, ``[B, V_m]``.
        """
        said = dict[int, Tensor]()
        for group in self._groups:
            rows = group[self.main].view(prior, self._method)
            for i in set(group) - {self.main}:
                said[i] = inverse_by_bayes(prior, relative[i].to(prior.device), rows)
        return said


def inverse_by_bayes(p: Tensor, r: Tensor, rows: Rows) -> Tensor:
    """``q(v) = p(v) · Σ_a R[v, a] · r(a) / (p R)(a)`` (docs/method.md).

    Args:
        p: The main model's distribution, ``[B, V]``.
        r: Another member's distribution in the relative space, ``[B, A]``.
        rows: The main model's relative representations.

    Returns:
        A distribution over the main vocabulary, ``[B, V]``. What lies on anchors that no main token reaches stays
        with the main model.
    """
    own = rows.to_anchors(rows.to_map_order(p))  # [B, A]
    reached = own > torch.finfo(own.dtype).tiny
    ratio = torch.where(reached, r / own, 0.0)
    unreached = torch.where(reached, 0.0, r).sum(-1, keepdim=True)
    return p * (rows.to_token_order(rows.to_tokens(ratio)) + unreached)
