"""Aggregation weights that depend on the input: on the prompt's likelihood, or on each token's entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer
from torch import Tensor
from typing_extensions import Self, override

from deepen_llm.fusion.weights.base import AggregationWeights, FixedWeights, Likelihood
from deepen_llm.options import Options


class DynamicWeights(Options, AggregationWeights):
    """Weights that depend on the input.

    Attributes:
        by: The name that users give them, fixed by each subclass.
    """

    by: str

    @model_serializer(mode="wrap")
    def _with_its_name(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"by": self.by, **write(self)}  # else serialization would leave it out as a default


class PromptWeights(DynamicWeights):
    """Per prompt, by each member's likelihood of it: ``λ = softmax(-NLL / τ)``, as PackLLM-sim (arXiv 2404.11531).

    NLL is the mean negative log-likelihood of the prompt's tokens in the member's own encoding, special tokens not
    counted. Where a member has no counted token (a prompt of one token), the weights are equal.

    Attributes:
        tau: The temperature τ, in nats per token or byte: a smaller one gives the likeliest member more weight.
        per: The unit of the mean: ``token``, as in PackLLM, which disfavors members with longer tokens; or ``byte``,
            which is comparable between vocabularies and needs a smaller τ.
    """

    by: Literal["prompt"] = "prompt"
    tau: float = Field(1.0, gt=0)
    per: Literal["token", "byte"] = "token"
    reads_prompts: ClassVar[bool] = True
    reads_logits: ClassVar[bool] = False

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return torch.tensor([self._logits(by_member) for by_member in likelihoods]).softmax(-1)

    def _logits(self, by_member: Sequence[Likelihood]) -> list[float]:
        """``-NLL / τ`` of one prompt in each member."""
        counts = [likelihood.size if self.per == "byte" else likelihood.tokens for likelihood in by_member]
        if not all(counts):
            return [0.0] * len(by_member)
        logits = [likelihood.logprob / count / self.tau for likelihood, count in zip(by_member, counts, strict=True)]
        return logits if max(logits) > -math.inf else [0.0] * len(by_member)  # the prompt is impossible in all members


class EntropyWeights(DynamicWeights):
    """Per token, by each member's entropy: ``λ_i ∝ base_i · exp(-h_i / τ)`` with ``h_i = H(p_i) / log V_i``.

    ``H(p_i)`` is the entropy of the member's distribution or, under ``surface``, of its evidence by all readings,
    without the share from which it abstains. Its maximum is ``log V_i``, with V_i tokens to choose from; as a share of
    that (Shannon's relative entropy, "A Mathematical Theory of Communication", 1948, section 7) it is comparable
    between vocabularies: 0 for one certain token, 1 for the uniform distribution.

    Attributes:
        tau: The temperature τ; 0.1 is about one nat in real vocabularies. A smaller one gives the member with the
            smallest entropy more weight.
        base: Factors of the weights, one per member; None for equal ones.
    """

    by: Literal["entropy"] = "entropy"
    tau: float = Field(0.1, gt=0)
    base: tuple[float, ...] | None = None

    @field_validator("base")
    @classmethod
    def _usable(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None:
            FixedWeights(value)  # raises where they cannot be used
        return value

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return FixedWeights(self.base).per_prompt(likelihoods) if self.base else super().per_prompt(likelihoods)

    @override
    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        device = logits[0].device
        shares = [_uncertainty(of_member).to(device, non_blocking=True) for of_member in logits]
        base = state.to(device, non_blocking=True)
        return (base.log() - torch.stack(shares, -1) / self.tau).softmax(-1)

    @override
    def may_have_weight(self, member: int) -> bool:
        return not self.base or self.base[member] > 0

    @override
    def subset(self, members: Sequence[int]) -> Self:
        return self.model_copy(update={"base": tuple(self.base[i] for i in members)}) if self.base else self


def _uncertainty(logits: Tensor) -> Tensor:
    """Entropy as a share of its maximum, from logits ``[P, V]`` to ``[P]``; 1 where all are ``-inf``."""
    count = logits.isfinite().sum(-1)  # excludes padding, and columns for other positions' straddling tokens
    entropy: Tensor = torch.special.entr(logits.softmax(-1)).sum(-1)
    return torch.where(count == 0, 1.0, entropy / count.clamp(min=2).log())
