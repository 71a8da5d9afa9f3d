"""Bayes' rule as the inverse transformation, in a calibrated space over pairwise anchors.

Read ``R_m[v, a]`` as P(anchor a | token v). Then another member's relative distribution goes back to main tokens by

    q_i(v) = p_m(v) · Σ_a R_m[v, a] · r_i(a) / (p_m R_m)(a)

which is one EM step on the paper's own objective. It has a closed form, is normalized, and needs no learning rate.

Where the main model gives the right token a small prior, one round cannot make it likely; each further round takes the
fused distribution as the prior, in place of ``p_m`` (docs/study.md).
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
    """Fused distribution ``λ_m p_m + Σ λ_i q_i``; every difference from the paper's space is an option.

    Attributes:
        rounds: How many times it is computed. In each round after the first, the fused distribution of the round before
            is the prior of every ``q_i``, in place of the main model's distribution.
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
        main_vocabulary = members[main].vocabulary.fingerprint
        others = [i for i, member in enumerate(members) if member.vocabulary.fingerprint != main_vocabulary]
        groups = [[main, *others]] if self.anchors == "joint" else [[main, i] for i in others]
        spaces = self._spaces(members, groups, main) if others else []
        return _BayesFusion(self, members, main, spaces)


class _BayesFusion(Fusion):
    def __init__(self, method: Bayes, members: Sequence[Fusible], main: int, groups: Sequence[AnchorGroup]) -> None:
        super().__init__(members, main, portion=method.portion(groups))
        self._method, self._groups = method, groups

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_after(logits, weights, None, None)

    def _fuse_after(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        p = [of_member.softmax(-1) for of_member in logits]  # N of [B, V_i]
        others = {i: group for group in self._groups for i in group if i != self.main}  # with another vocabulary
        prior, same_vocabulary = p[self.main], torch.zeros_like(p[self.main])
        q = dict[int, Tensor]()  # each member's distribution over main tokens
        for i in set(range(len(p))) - set(others):
            q[i] = in_main_ids(p[i].to(prior.device), self._roles[i], self._roles[self.main], prior.shape[1])
            same_vocabulary += weights[:, i : i + 1] * q[i]
        if others:
            relative = {i: group[i].view(p[i], self._method).to_anchors_once(p[i]) for i, group in others.items()}
            for _ in range(self._method.rounds):
                q |= self._over_main_tokens(relative, prior)
                prior = same_vocabulary + sum(weights[:, i : i + 1] * q[i] for i in others)
        fused = prior if others else same_vocabulary
        if parts is not None:
            parts.append(parts_of([q[i] for i in range(len(p))], fused))
        return fused.log() + logits[self.main].logsumexp(-1, keepdim=True)  # on the scale of the main model's logits

    def _over_main_tokens(self, relative: Mapping[int, Tensor], prior: Tensor) -> dict[int, Tensor]:
        """``q_i`` of each member with another vocabulary, ``[B, V_m]``.

        Args:
            relative: Their distributions in the relative spaces, by member, ``[B, A]`` each.
            prior: The prior over main tokens, ``[B, V_m]``.
        """
        q = dict[int, Tensor]()
        for group in self._groups:
            rows = group[self.main].view(prior, self._method)
            for i in set(group) - {self.main}:
                q[i] = inverse_by_bayes(prior, relative[i].to(prior.device), rows)
        return q


def inverse_by_bayes(p: Tensor, r: Tensor, rows: Rows) -> Tensor:
    """``q(v) = p(v) · Σ_a R[v, a] · r(a) / (p R)(a)`` (docs/method.md).

    Args:
        p: The main model's distribution, ``[B, V]``.
        r: Another member's distribution in the relative space, ``[B, A]``.
        rows: The main model's relative representations.

    Returns:
        A distribution over the main vocabulary, ``[B, V]``. The mass of ``r`` on anchors where ``p R`` is 0 is
        distributed as ``p``.
    """
    relative = rows.to_anchors(rows.to_map_order(p))  # [B, A]
    reached = relative > torch.finfo(relative.dtype).tiny
    ratio = torch.where(reached, r / relative, 0.0)
    unreached = torch.where(reached, 0.0, r).sum(-1, keepdim=True)
    return p * (rows.to_token_order(rows.to_tokens(ratio)) + unreached)
