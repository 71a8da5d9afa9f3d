"""Averages over exactly matching tokens: the baseline.

With M(v) the members that have the main token v, the main model included, and v_i the token of member i with v's
surface, for ``mean="arithmetic"`` and ``mean="geometric"``

    f(v) = Σ_{i ∈ M(v)} λ_i p_i(v_i) / Σ_{i ∈ M(v)} λ_i
    f(v) = Π_{i ∈ M(v)} p_i(v_i)^(λ_i / Σ_{j ∈ M(v)} λ_j)

each scaled to sum 1. The end of text is one token. Where no member of M(v) has weight, f(v) is the main model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.selection import AnchorOptions, chosen_anchors
from deepen_llm.fusion.shared_vocabulary import in_main_ids
from deepen_llm.fusion.tunable import Choice, Tunable
from deepen_llm.vocabulary import shared_anchors

_TINY = 1e-12  # in place of a sum of weights that is 0, as a divisor


class Exact(FusionMethod):
    """Each main token gets the weighted mean of its probabilities in the members that have it.

    Tokens with equal surfaces match. A main token that no other member has keeps the main model's probability. The mass
    of tokens that the main model lacks is dropped. Then all is scaled to sum 1.

    Attributes:
        mean: ``arithmetic``: a token is likely where one member finds it likely; or ``geometric``: a token is
            impossible where one member that has it finds it impossible.
        choice: Which of the matching tokens are averaged; the others keep the main model's probabilities.
    """

    title: ClassVar[str] = "the mean over exactly matching tokens"
    reference: ClassVar[str] = "docs/method.md, Exact tokens"
    tunables: ClassVar[tuple[Tunable, ...]] = (Choice.of("mean", "arithmetic", "geometric", label="mean"),)
    method: Literal["exact"] = "exact"
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    choice: AnchorOptions = AnchorOptions()

    @property
    @override
    def required(self) -> frozenset[Needs]:
        """``needs``, and embeddings where ``choice`` selects tokens by them."""
        return self.needs | ({Needs.EMBEDDING} if self.choice.by_embedding else frozenset())

    @override
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """Bind the method to its members.

        Raises:
            VocabularyError: A member shares no token with the main model.
        """
        return _ExactFusion(self, members, main)


class _ExactFusion(Fusion):
    def __init__(self, method: Exact, members: Sequence[Fusible], main: int) -> None:
        super().__init__(members, main)
        self._geometric = method.mean == "geometric"
        main_vocabulary = members[main].vocabulary.fingerprint
        self._ids = {  # of matching tokens in the main model and in the member, [2, A] each
            i: _matching([members[main], member], method.choice)
            for i, member in enumerate(members)
            if member.vocabulary.fingerprint != main_vocabulary
        }

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        p = [of_member.softmax(-1) for of_member in logits]  # N of [B, V_i]
        main = p[self.main]
        total, share = torch.zeros_like(main), torch.zeros_like(main)  # over the members that have a token, [B, V_m]
        for i, of_member in enumerate(p):
            weight = weights[:, i : i + 1]
            if i not in self._ids:
                q = in_main_ids(of_member.to(main.device), self._roles[i], self._roles[self.main], main.shape[1])
                total += self._term(weight, q)
                share += weight
                continue
            main_ids, member_ids = self._ids[i].to(main.device, non_blocking=True)
            total.index_add_(1, main_ids, self._term(weight, of_member.to(main.device).index_select(1, member_ids)))
            share.index_add_(1, main_ids, weight.expand(-1, len(main_ids)))
        mean = total / share.clamp_min(_TINY)
        fused = torch.where(share > 0, mean if self._geometric else mean.log(), main.log())
        impossible = fused.isneginf().all(-1, keepdim=True)  # every token is impossible in some member
        fused = torch.where(impossible, main.log(), fused).log_softmax(-1)
        return fused + logits[self.main].logsumexp(-1, keepdim=True)  # on the scale of the main model's logits

    def _term(self, weight: Tensor, p: Tensor) -> Tensor:
        """A member's term of a sum: its probabilities ``[B, A]``, or their logarithms, times its weight ``[B, 1]``."""
        return p.log().mul(weight).masked_fill(weight == 0, 0.0) if self._geometric else weight * p


def _matching(pair: Sequence[Fusible], choice: AnchorOptions) -> Tensor:
    """Each member's ids of the tokens that both have, ``[2, A]``."""
    return chosen_anchors(pair, shared_anchors([member.vocabulary for member in pair]), 0, choice, SpaceOptions())
