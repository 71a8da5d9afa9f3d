"""The plain baseline: the average over exactly matching tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.selection import AnchorOptions, chosen_anchors
from deepen_llm.vocabulary import shared_anchors


class ExactAverage(FusionMethod):
    """Each main token gets the weighted average of the probabilities that it has in the members that have it.

    A token is the same where its surface is. A main token that no other member has keeps the main model's probability;
    what a member holds to be likely and the main model has no token for is lost; then all is scaled to sum 1.

    Attributes:
        choice: Which of the matching tokens are averaged; the others count as if nobody else had them.
    """

    method: Literal["exact"] = "exact"
    choice: AnchorOptions = AnchorOptions()

    @property
    def required(self) -> frozenset[Needs]:
        """See `FusionMethod`: embeddings, where tokens are chosen by them."""
        return self.needs | ({Needs.EMBEDDING} if self.choice.by_embedding else frozenset())

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """See `FusionMethod`."""
        return _ExactFusion(members, main, self.choice)


class _ExactFusion(Fusion):
    def __init__(self, members: Sequence[Fusible], main: int, choice: AnchorOptions) -> None:
        super().__init__(members, main)
        pairs = {i: [members[main], member] for i, member in enumerate(members) if i != main}
        self._ids = {i: _matching(pair, choice) for i, pair in pairs.items()}  # [2, A] each

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        p = [one.softmax(-1) for one in logits]
        total = weights[:, self.main : self.main + 1] * p[self.main]
        share = weights[:, self.main : self.main + 1].expand_as(total).clone()
        for i, (ours, theirs) in self._ids.items():
            weight = weights[:, i : i + 1]
            total[:, ours] += weight * p[i][:, theirs]
            share[:, ours] += weight
        average = torch.where(share > 0, total / share.clamp_min(1e-12), p[self.main])
        return average.log().log_softmax(-1)


def _matching(pair: Sequence[Fusible], choice: AnchorOptions) -> Tensor:
    """Ids of the tokens that both have, ``[2, A]``."""
    own, other = (member.vocabulary for member in pair)
    if own.fingerprint == other.fingerprint and own.size == other.size:
        return torch.arange(own.size).expand(2, -1)
    return chosen_anchors(pair, shared_anchors([own, other]), 0, choice, SpaceOptions())
