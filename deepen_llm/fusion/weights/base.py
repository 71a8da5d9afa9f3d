"""The seam: how much each member counts (aggregation weights λ)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self, override

from deepen_llm.errors import ConfigError


class Likelihood(NamedTuple):
    """How likely a member finds a prompt.

    Attributes:
        logprob: Log-probability of the tokens that are counted, in nats; of weights with a ``horizon`` h, each times
            ``exp(-d / h)``, with d the bytes from where the token begins to the end of the prompt.
        tokens: How many are: all but special ones and one that begins the prompt, before which nothing stands.
        size: How many bytes these add to a text.
    """

    logprob: float = 0.0
    tokens: int = 0
    size: int = 0


class AggregationWeights:
    """Decides how much each member counts: for a prompt, and at each place of an answer; by default all the same.

    Attributes:
        reads_prompts: Whether `per_prompt` looks at likelihoods, which take one more forward of each member per prompt.
        reads_logits: Whether `per_token` looks at logits.
        learns: Whether they change by the tokens that are committed, which needs a fusion method that ``mixes``.
    """

    reads_prompts: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    @property
    def memory(self) -> float:
        """The bytes after which a prompt's token counts e times less; infinite where all count alike."""
        return math.inf

    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        """What holds for all of an answer, or for its beginning where it ``learns``, ``[B, N]`` on the CPU.

        By default these are weights already, fp32, and every row sums to 1.

        Args:
            likelihoods: Of B prompts in N members, ``[B][N]``; without content unless ``reads_prompts``.
        """
        return torch.tensor([[1 / len(row)] * len(row) for row in likelihoods])

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        """Weights at P places, ``[P, N]``; every row sums to 1.

        Args:
            logits: The members' logits there, ``[P, V_i]`` each. Under a fusion method that reads members at their last
                tokens, too, what they expect by all of these readings: there are more columns, for tokens that began
                before, and what a member abstains from is left out.
            state: What holds at each place, ``[P, N]``: its prompt's, or what `learn` made of it.
        """
        return state

    def learn(self, state: Tensor, parts: Tensor, sizes: Tensor, *, given: bool) -> Tensor:
        """What holds behind a committed token, ``[B, N]``.

        Args:
            state: What held before it, ``[B, N]``.
            parts: How likely it was to each member (see `parts`), ``[B, N]``; all 1 where the main model decided alone.
            sizes: Its bytes, ``[B]``.
            given: Whether the text is given, or the ensemble's own.
        """
        return state

    def may_have_weight(self, member: int) -> bool:
        """Whether a member, by its index, may ever have weight; one that may not is never read."""
        return True

    def subset(self, members: Sequence[int]) -> Self:
        """The same over some of the members only, by their indices."""
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
        if any(not math.isfinite(w) or w < 0 for w in weights) or not max(weights, default=0) > 0:
            raise ConfigError(
                f"aggregation weights {list(weights)} are not usable: expected none negative, and one above zero",
                hint="give each member a weight like 0.5, or weights=None for equal ones",
            )
        shares = [w / max(weights) for w in weights]  # so that no sum overflows
        self.values = tuple(w / sum(shares) for w in shares)

    @classmethod
    def average(cls, count: int) -> FixedWeights:
        """DEEPEN-Avg: ``λ_i = 1/N``."""
        return cls([1.0] * count)

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return torch.tensor(self.values).expand(len(likelihoods), -1)

    def may_have_weight(self, member: int) -> bool:
        """All but those of weight 0."""
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
