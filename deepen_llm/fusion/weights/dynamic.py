"""Aggregation weights that follow the input: the prompt, or how sure members are of each token."""

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
    """Weights that follow the input.

    Attributes:
        by: The name that users give them, fixed by each subclass.
    """

    by: str

    @model_serializer(mode="wrap")
    def _with_its_name(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"by": self.by, **write(self)}  # its name is no default to leave out


class PromptWeights(DynamicWeights):
    """Per prompt, by each member's likelihood of it: ``λ = softmax(-NLL / τ)``, as PackLLM-sim (arXiv 2404.11531).

    NLL is the mean negative log-likelihood of the prompt's tokens in the member's own encoding. Special tokens are not
    counted. Where a member has nothing to count (a prompt of one token), all have the same weight.

    Attributes:
        tau: The temperature τ, in nats per token or byte: the smaller, the more the likeliest member counts.
        per: What the mean is over: a ``token``, as in PackLLM, where a member with longer tokens looks worse than it
            is; or a ``byte``, which means the same in every vocabulary, and needs a smaller τ.
    """

    by: Literal["prompt"] = "prompt"
    tau: float = Field(1.0, gt=0)
    per: Literal["token", "byte"] = "token"
    reads_prompts: ClassVar[bool] = True
    reads_logits: ClassVar[bool] = False

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return torch.tensor([self._of_one(row) for row in likelihoods]).softmax(-1)

    def _of_one(self, row: Sequence[Likelihood]) -> list[float]:
        counts = [one.size if self.per == "byte" else one.tokens for one in row]
        if not all(counts):
            return [0.0] * len(row)
        found = [one.logprob / count / self.tau for one, count in zip(row, counts, strict=True)]
        return found if max(found) > -math.inf else [0.0] * len(row)  # nobody thinks it possible


class EntropyWeights(DynamicWeights):
    """Per token, by how sure each member is: ``λ_i ∝ base_i · exp(-h_i / τ)`` with ``h_i = H(p_i) / log V_i``.

    ``H(p_i)`` is the entropy of what the member expects next: of its distribution, or, under ``surface``, of all its
    readings, without what it abstains from. It can reach ``log V_i`` and no more, with V_i tokens to choose from; as a
    share of that (Shannon's relative entropy, "A Mathematical Theory of Communication", 1948, section 7) it means the
    same in a small and a large vocabulary: 0 is certainty, 1 is not knowing anything.

    Attributes:
        tau: The temperature τ; 0.1 is about one nat in real vocabularies. The smaller, the more the surest one counts.
        base: Weights to begin with, one per member; None for equal ones.
    """

    by: Literal["entropy"] = "entropy"
    tau: float = Field(0.1, gt=0)
    base: tuple[float, ...] | None = None

    @field_validator("base")
    @classmethod
    def _usable(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None:
            FixedWeights(value)  # which says what is wrong
        return value

    @override
    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return FixedWeights(self.base).per_prompt(likelihoods) if self.base else super().per_prompt(likelihoods)

    @override
    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        device = logits[0].device
        shares = [_uncertainty(one).to(device, non_blocking=True) for one in logits]
        base = state.to(device, non_blocking=True)
        return (base.log() - torch.stack(shares, -1) / self.tau).softmax(-1)

    @override
    def may_have_weight(self, member: int) -> bool:
        return not self.base or self.base[member] > 0

    @override
    def subset(self, members: Sequence[int]) -> Self:
        return self.model_copy(update={"base": tuple(self.base[i] for i in members)}) if self.base else self


def _uncertainty(logits: Tensor) -> Tensor:
    """Entropy of the distributions of logits as a share of what it can be, ``[P, V]`` to ``[P]``; 1 without any."""
    count = logits.isfinite().sum(-1)  # not padding, nor columns that only other texts' straddling tokens need
    entropy: Tensor = torch.special.entr(logits.softmax(-1)).sum(-1)
    return torch.where(count == 0, 1.0, entropy / count.clamp(min=2).log())
