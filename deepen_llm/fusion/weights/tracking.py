"""Aggregation weights that track how likely the text so far was in each member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from deepen_llm.fusion.weights.base import Likelihood
from deepen_llm.fusion.weights.dynamic import DynamicWeights

AWAKE = 0.999
"""The share of a member's part that is credited; the rest is the mixture, so that a token costs at most seven nats."""

_LEAST = 1e-38  # probabilities below this are 0 in fp32
_WORST = -1e4  # nats: no prompt counts as less likely


class TrackWeights(DynamicWeights):
    """Per token, by the likelihood of the text so far in each member: exponential weights with a share for all.

    With ``S_i`` the log-probability of the text so far in member i, where each token has the weight ``exp(-d / h)``, d
    the bytes from its beginning to the end of the text,

        λ = (1 - share) · softmax(gamma · S) + share / N

    A prompt's tokens are those of the member's own encoding, special ones left out. Then each committed token v of |v|
    bytes updates ``S_i ← exp(-|v| / h) · (S_i + log q'_i(v))``, with ``q'_i`` the member's part of the mixture
    ``fused = Σ λ_i q'_i``: the share from which it abstains is filled with the fused distribution (see `parts`), and so
    is always one thousandth (`AWAKE`). The fusion method must be a mixture, such as ``surface`` or ``bayes``.

    These are the exponential weights of prediction with expert advice. They adapt to a change, since losses fade and
    all members have a share (compare Herbster and Warmuth, "Tracking the best expert", 1998). Where every token v_t is
    credited and there is no prompt, for every member i and at every length T of the text

        Σ_t D_t · (-log fused(v_t)) ≤ Σ_t D_t · (-log q'_i(v_t)) + (log N) / gamma + Σ_t D_t · log(1 / (1 - share))

    with ``D_t = exp(-(bytes from the beginning of v_t to the end) / h)``. Proof: let δ = exp(-|v| / h) and
    ``Φ = (1 / gamma) · log((1 / N) · Σ_i exp(gamma · S_i))``. As x^δ and x^gamma are concave (δ, gamma ≤ 1), by
    Jensen's inequality a step gives

        Φ' ≤ δ (Φ + (1 / gamma) log Σ_i u_i q'_i(v)^gamma)
           ≤ δ (Φ + log Σ_i u_i q'_i(v)) ≤ δ (Φ + log fused(v) + log(1 / (1 - share)))

    with ``u = softmax(gamma · S)``, since ``λ ≥ (1 - share) u``. Φ begins at 0, and in the end is at least
    ``S_i - (log N) / gamma``. The proof needs a token's own bytes to fade its credit, too.

    In generated text, a member whose choice was not committed loses weight whether or not the choice was right, and
    then has too little weight where its prediction is needed. So by default only given text is credited.

    Attributes:
        gamma: The learning rate; 1 treats tokens as independent evidence, which they are not.
        horizon: The bytes h after which the weight of a token falls by a factor of e.
        share: The total weight that is always divided equally.
        credit: Which tokens are credited. ``given``: those of prompts and of scored texts; while the ensemble
            generates, the weights fade to equal ones. ``all``: generated ones, too, so that scoring a generated text
            gives the likelihood it was generated with; on long answers this lowers accuracy (docs/method.md).
    """

    by: Literal["track"] = "track"
    gamma: float = Field(0.15, gt=0, le=1)
    horizon: float = Field(100.0, gt=0)
    share: float = Field(0.1, ge=0, lt=1)
    credit: Literal["given", "all"] = "given"
    reads_prompts: ClassVar[bool] = True
    reads_logits: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    @property
    @override
    def memory(self) -> float:
        return self.horizon

    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        """``S``, fp64; equal where a member has no counted token."""
        sums = [
            [likelihood.logprob if all(other.tokens for other in by_member) else 0.0 for likelihood in by_member]
            for by_member in likelihoods
        ]
        return torch.tensor(sums, dtype=torch.float64).clamp(min=_WORST)

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        """``λ``."""
        tracked = (self.gamma * state).softmax(-1)
        return torch.lerp(tracked, torch.full_like(tracked, 1 / tracked.shape[-1]), self.share)

    def learn(self, state: Tensor, parts: Tensor, sizes: Tensor, *, given: bool) -> Tensor:
        """``S`` after the token."""
        if given or self.credit == "all":
            parts = parts.double()
            fused = (self.per_token((), state) * parts).sum(-1, keepdim=True)
            state = state + (AWAKE * parts + (1 - AWAKE) * fused).clamp(min=_LEAST).log()
        return state * torch.exp(-sizes.double() / self.horizon)[:, None]
