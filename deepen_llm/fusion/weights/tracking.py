"""Aggregation weights that track which member foresaw the text so far."""

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
"""What a member is sure of at most: for the rest it abstains, so that no token costs it more than seven nats."""

_LEAST = 1e-38  # probabilities below this are 0 in fp32
_WORST = -1e4  # nats: no prompt counts as less likely


class TrackWeights(DynamicWeights):
    """Per token, by how likely each member found the text so far: exponential weights with a share for all.

    With ``S_i`` the log-probability of the text so far in member i, where each token counts ``exp(-d / h)``, d the
    bytes from where it begins to the end of the text,

        λ = (1 - share) · softmax(gamma · S) + share / N

    A prompt's tokens are those of the member's own encoding, special ones left out. Then, at each token v that is
    committed, of |v| bytes, ``S_i ← exp(-|v| / h) · (S_i + log q'_i(v))``, with ``q'_i`` the member's part in the
    mixture ``fused = Σ λ_i q'_i``: what it abstains from counts as the ensemble's own (see `parts`), and one thousandth
    always does (`AWAKE`). So it takes a fusion method that is a mixture, ``surface`` or ``bayes``.

    These are the exponential weights of prediction with expert advice. They can follow a change, since losses fade and
    all have a share (compare Herbster and Warmuth, "Tracking the best expert", 1998). Where every token v_t is credited
    and there is no prompt, for every member i and at every length T of the text

        Σ_t D_t · (-log fused(v_t)) ≤ Σ_t D_t · (-log q'_i(v_t)) + (log N) / gamma + Σ_t D_t · log(1 / (1 - share))

    with ``D_t = exp(-(bytes from where v_t begins to the end) / h)``. For let δ = exp(-|v| / h) and
    ``Φ = (1 / gamma) · log((1 / N) · Σ_i exp(gamma · S_i))``. As x^δ and x^gamma are concave (δ, gamma ≤ 1), by
    Jensen's inequality a step leads to

        Φ' ≤ δ (Φ + (1 / gamma) log Σ_i u_i q'_i(v)^gamma)
           ≤ δ (Φ + log Σ_i u_i q'_i(v)) ≤ δ (Φ + log fused(v) + log(1 / (1 - share)))

    with ``u = softmax(gamma · S)``, since ``λ ≥ (1 - share) u``. Φ begins at 0, and in the end is at least
    ``S_i - (log N) / gamma``. It is for this that a token's own bytes fade its credit, too.

    Text that the ensemble writes itself is another matter: who is outvoted loses weight, right or wrong, and is then
    missing where its vote is needed. So by default only given text is credited.

    Attributes:
        gamma: How boldly weights follow; 1 takes tokens for independent evidence, which they are not.
        horizon: The bytes after which a token counts e times less, h.
        share: What all members always share equally.
        credit: Which tokens are credited. ``given``: those of prompts and of texts that are scored; while the ensemble
            writes, the weights fade to equal ones. ``all``: those that it writes, too, so that a text that it wrote has
            the likelihood it was written with; on long answers this does harm (docs/method.md).
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
        """``S``, fp64; equal where a member has nothing to count."""
        found = [[one.logprob if all(each.tokens for each in row) else 0.0 for one in row] for row in likelihoods]
        return torch.tensor(found, dtype=torch.float64).clamp(min=_WORST)

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        """``λ``."""
        tracked = (self.gamma * state).softmax(-1)
        return torch.lerp(tracked, torch.full_like(tracked, 1 / tracked.shape[-1]), self.share)

    def learn(self, state: Tensor, parts: Tensor, sizes: Tensor, *, given: bool) -> Tensor:
        """``S`` behind the token."""
        if given or self.credit == "all":
            parts = parts.double()
            fused = (self.per_token((), state) * parts).sum(-1, keepdim=True)
            state = state + (AWAKE * parts + (1 - AWAKE) * fused).clamp(min=_LEAST).log()
        return state * torch.exp(-sizes.double() / self.horizon)[:, None]
