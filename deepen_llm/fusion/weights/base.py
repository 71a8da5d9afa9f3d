"""The interface of aggregation weights λ, and fixed weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self, override

from deepen_llm.errors import ConfigError


class Likelihood(NamedTuple):
    """The likelihood of a prompt in one member.

    Attributes:
        logprob: Log-probability of the counted tokens, in nats; for weights with a ``horizon`` h, each is multiplied by
            ``exp(-d / h)``, with d the bytes from the token's beginning to the end of the prompt.
        tokens: The number of counted tokens: all but special ones and the prompt's first, which nothing precedes.
        size: The bytes of the counted tokens.
    """

    logprob: float = 0.0
    tokens: int = 0
    size: int = 0


class AggregationWeights:
    """The weights of members, for a prompt and at each position of an answer; by default all are equal.

    Attributes:
        reads_prompts: Whether `per_prompt` reads likelihoods, which cost one more forward of each member per prompt.
        reads_logits: Whether `per_token` reads logits.
        learns: Whether committed tokens change the weights, which requires a fusion method that ``mixes``.
    """

    reads_prompts: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    @property
    def memory(self) -> float:
        """The bytes after which the weight of a prompt's token falls by a factor of e; infinite for equal weights."""
        return math.inf

    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        """The state for a whole answer, or for its first token where the weights ``learn``, ``[B, N]`` on the CPU.

        By default the state is the weights, fp32, which sum to 1 over the members.

        Args:
            likelihoods: Of B prompts in N members, ``[B][N]``; empty values unless ``reads_prompts``.
        """
        return torch.tensor([[1 / len(by_member)] * len(by_member) for by_member in likelihoods])

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        """Weights at P positions, ``[P, N]``, which sum to 1 over the members.

        Args:
            logits: The members' logits there, ``[P, V_i]`` each. Under a fusion method that reads members at earlier
                boundaries, too, their predictions by all readings: more columns follow for straddling tokens, and the
                share from which a member abstains is left out.
            state: The state at each position, ``[P, N]``: that of `per_prompt`, or the last that `learn` returned.
        """
        return state

    def learn(self, state: Tensor, parts: Tensor, sizes: Tensor, *, given: bool) -> Tensor:
        """The state after a committed token, ``[B, N]``.

        Args:
            state: The state before it, ``[B, N]``.
            parts: Its probability in each member's part of the mixture (see `parts`), ``[B, N]``; all 1 where only the
                main model's distribution was used.
            sizes: Its length in bytes, ``[B]``.
            given: Whether the text is given; False where the ensemble generates it.
        """
        return state

    def may_have_weight(self, member: int) -> bool:
        """Whether a member, by its index, may have weight at any position; other members are never read."""
        return True

    def subset(self, members: Sequence[int]) -> Self:
        """The same over these members only, by their indices."""
        return self


class FixedWeights(AggregationWeights):
    """The same weights at every step, scaled to sum 1.

    Args:
        weights: One per member, none negative, not all zero.

    Raises:
        ConfigError: The weights are negative, not finite or all zero.
    """

    reads_logits: ClassVar[bool] = False

    def __init__(self, weights: Sequence[float]) -> None:
        if any(not math.isfinite(weight) or weight < 0 for weight in weights) or not max(weights, default=0) > 0:
            raise ConfigError(
                f"expected aggregation weights with none negative and one above zero, got {list(weights)}",
                hint="give each member a weight like 0.5, or weights=None for equal ones",
            )
        shares = [weight / max(weights) for weight in weights]  # so that the sum does not overflow
        self.values = tuple(share / sum(shares) for share in shares)

    @classmethod
    def average(cls, count: int) -> FixedWeights:
        """DEEPEN-Avg: ``λ_i = 1/N``."""
        return cls([1.0] * count)

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return torch.tensor(self.values).expand(len(likelihoods), -1)

    def may_have_weight(self, member: int) -> bool:
        """Whether the member's weight is above 0."""
        return self.values[member] > 0

    def subset(self, members: Sequence[int]) -> Self:
        """The weights of these members, scaled to sum 1."""
        return type(self)([self.values[i] for i in members])


def adapted_weights(scores: Sequence[float]) -> list[float]:
    """DEEPEN-Adapt: weights in proportion to each member's score on a development set (arXiv 2404.12715, 3.3).

    Raises:
        ConfigError: A score is negative, or none is above zero.

    >>> adapted_weights([0.6, 0.2])
    [0.75, 0.25]
    """
    return [round(weight, 6) for weight in FixedWeights(scores).values]
