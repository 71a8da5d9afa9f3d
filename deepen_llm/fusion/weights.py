"""The seam: how much each member counts (aggregation weights λ)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.errors import ConfigError


class AggregationWeights(ABC):
    """Decides, step by step, how much each member counts."""

    @abstractmethod
    def weigh(self, logits: Sequence[Tensor]) -> Tensor:
        """Weights ``[B, N]`` for the members' logits, ``[B, V_i]`` each; every row sums to 1."""


class FixedWeights(AggregationWeights):
    """The same weights at every step, scaled to sum 1.

    Args:
        weights: One per member, none negative, not all zero.

    Raises:
        ConfigError: The weights are negative, not finite or all zero.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        if any(not math.isfinite(w) or w < 0 for w in weights) or not sum(weights) > 0:
            raise ConfigError(
                f"aggregation weights {list(weights)} are not usable: expected none negative, and one above zero",
                hint="give each member a weight like 0.5, or weights=None for equal ones",
            )
        self.values = tuple(w / sum(weights) for w in weights)

    @classmethod
    def average(cls, count: int) -> FixedWeights:
        """DEEPEN-Avg: ``λ_i = 1/N``."""
        return cls([1.0] * count)

    def weigh(self, logits: Sequence[Tensor]) -> Tensor:
        """See `AggregationWeights`."""
        return torch.tensor(self.values).expand(logits[0].shape[0], -1)


def adapted_weights(scores: Sequence[float]) -> list[float]:
    """DEEPEN-Adapt: weights in proportion to each member's score on a development set (arXiv 2404.12715, 3.3).

    Raises:
        ConfigError: A score is negative, or none is above zero.

    >>> adapted_weights([0.6, 0.2])
    [0.75, 0.25]
    """
    return [round(weight, 6) for weight in FixedWeights(scores).values]
