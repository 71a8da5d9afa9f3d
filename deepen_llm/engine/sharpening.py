"""Sharpening: where a fused distribution is spread over many tokens, those that begin alike become one of them.

From SAFE (arXiv 2510.15346, section 4.3): the first of its two variants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepen_llm.fusion.surfaces.correspondence import Tokens

_SPREAD, _LIKELY = 0.5, 0.1  # the paper's values


def sharpened(fused: Tensor, tokens: Tokens, fits: Tensor) -> Tensor:
    """Let likely tokens take over the probability of all that begin with their surface.

    Done where the largest probability is below 1/2. Tokens with more than 0.1 take over; of two of them that begin
    alike, the shorter one takes both. What is taken over has a probability of 0 afterwards.

    Args:
        fused: Fused logits, ``[P, V_m]``.
        tokens: The main model's tokens by how they begin.
        fits: The boundaries at which it may be done, bool ``[P]``.

    Returns:
        Logits, ``[P, V_m]``; where nothing is done, the given ones to the bit.
    """
    spread = (fused.softmax(-1).amax(-1) < _SPREAD) & fits.to(fused.device)
    positions = spread.nonzero()[:, 0].tolist()
    if not positions:
        return fused
    fused = fused.clone()
    for position in positions:
        _sharpen(fused[position], tokens)
    return fused


def _sharpen(logits: Tensor, tokens: Tokens) -> None:
    """`sharpened`, at one boundary, in place, ``[V_m]``."""
    likely = (logits.softmax(-1) > _LIKELY).nonzero()[:, 0].tolist()
    spelled = sorted((tokens.surfaces[token] or b"", token) for token in likely)  # of two alike, the shorter first
    for surface, token in spelled:
        if surface and not logits[token].isneginf():
            alike = torch.from_numpy(tokens.order[tokens.beginning(surface)]).to(logits.device)
            total = logits[alike].logsumexp(-1)
            logits[alike] = -torch.inf
            logits[token] = total
