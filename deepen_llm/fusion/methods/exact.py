"""Averages over exactly matching tokens: the plain baseline.

With M(v) the members that have the main token v, the main model among them, and v_i the token of member i with v's
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

from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.selection import AnchorOptions, chosen_anchors
from deepen_llm.fusion.shared_vocabulary import in_main_ids
from deepen_llm.fusion.tunable import Choice, Tunable
from deepen_llm.vocabulary import shared_anchors

_TINY = 1e-12  # a sum of weights that is 0 is not divided by


class Exact(FusionMethod):
    """Each main token gets the weighted mean of the probabilities that it has in the members that have it.

    A token is the same where its surface is. A main token that no other member has keeps the main model's probability;
    what a member holds to be likely and the main model has no token for is lost; then all is scaled to sum 1.

    Attributes:
        mean: ``arithmetic``: one member that finds a token likely suffices; or ``geometric``: every member that has
            the token must find it possible.
        choice: Which of the matching tokens are averaged; the others count as if nobody else had them.
    """

    title: ClassVar[str] = "the mean over exactly matching tokens"
    reference: ClassVar[str] = "docs/method.md, Exact tokens"
    tunables: ClassVar[tuple[Tunable, ...]] = (Choice.of("mean", "arithmetic", "geometric", label="mean"),)
    method: Literal["exact"] = "exact"
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    choice: AnchorOptions = AnchorOptions()

    @property
    def required(self) -> frozenset[Needs]:
        """See `FusionMethod`: embeddings, where tokens are chosen by them."""
        return self.needs | ({Needs.EMBEDDING} if self.choice.by_embedding else frozenset())

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """See `FusionMethod`.

        Raises:
            VocabularyError: A member shares no token with the main model.
        """
        return _ExactFusion(self, members, main)


class _ExactFusion(Fusion):
    def __init__(self, method: Exact, members: Sequence[Fusible], main: int) -> None:
        super().__init__(members, main)
        self._geometric, own = method.mean == "geometric", members[main].vocabulary.fingerprint
        strangers = {i: one for i, one in enumerate(members) if one.vocabulary.fingerprint != own}
        self._ids = {i: _matching([members[main], one], method.choice) for i, one in strangers.items()}  # [2, A] each

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        p = [one.softmax(-1) for one in logits]  # N of [B, V_i]
        own = p[self.main]
        total, share = torch.zeros_like(own), torch.zeros_like(own)  # over the members that have a token, [B, V_m]
        for i, one in enumerate(p):
            weight = weights[:, i : i + 1]
            if i not in self._ids:
                said = in_main_ids(one.to(own.device), self._roles[i], self._roles[self.main], own.shape[1])
                total += self._term(weight, said)
                share += weight
                continue
            ours, theirs = self._ids[i].to(own.device, non_blocking=True)
            total.index_add_(1, ours, self._term(weight, one.to(own.device).index_select(1, theirs)))
            share.index_add_(1, ours, weight.expand(-1, len(ours)))
        mean = total / share.clamp_min(_TINY)
        fused = torch.where(share > 0, mean if self._geometric else mean.log(), own.log())
        impossible = fused.isneginf().all(-1, keepdim=True)  # to some member, whatever the token
        fused = torch.where(impossible, own.log(), fused).log_softmax(-1)
        return fused + logits[self.main].logsumexp(-1, keepdim=True)  # on the scale of the main model's logits

    def _term(self, weight: Tensor, p: Tensor) -> Tensor:
        """What a member adds to a sum: its probabilities ``[B, A]``, or their logarithms, by its weight ``[B, 1]``."""
        return p.log().mul(weight).masked_fill(weight == 0, 0.0) if self._geometric else weight * p


def _matching(pair: Sequence[Fusible], choice: AnchorOptions) -> Tensor:
    """Ids of the tokens that both have, ``[2, A]``."""
    return chosen_anchors(pair, shared_anchors([member.vocabulary for member in pair]), 0, choice, SpaceOptions())
