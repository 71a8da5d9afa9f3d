"""The geometric mean of members' distributions by surfaces, in place of the average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from deepen_llm.fusion import Fusion, FusionMethod, Surface
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.past import Past


class GeometricMean(FusionMethod):
    """``f ∝ Π_i ((1 - ε) q'_i + ε fused)^λ_i``, with q'_i each member's part in the mixture by surfaces.

    Attributes:
        leaven: The share ε of the mixture in every part, so that no member alone rules a token out.
    """

    method: Literal["geometric"] = "geometric"
    leaven: float = Field(0.03, ge=0, le=1)

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """See `FusionMethod`."""
        return _GeometricFusion(members, main, self.leaven)


class _GeometricFusion(Fusion):
    def __init__(self, members: Sequence[Fusible], main: int, leaven: float) -> None:
        super().__init__(members, main)
        self._mixture, self._leaven = Surface().prepare(members, main), leaven
        self.back, self.rereads = self._mixture.back, self._mixture.rereads

    def read(self, logits: Sequence[Tensor], past: Past) -> None:
        """See `Fusion`."""
        self._mixture.read(logits, past)

    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """See `Fusion`."""
        return self._mixture.expected(logits, past)

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_after(logits, weights, None, None)

    def _fuse_after(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        collected = list[Tensor]()
        fused = self._mixture.fuse(logits, weights, past, collected).softmax(-1)
        smoothed = (1 - self._leaven) * torch.cat(collected, 1) + self._leaven * fused  # [N, P, V_m]
        return (weights.T.unsqueeze(-1) * smoothed.log()).sum(0)
