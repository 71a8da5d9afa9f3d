"""Sharpening: where a fused distribution is spread over many tokens, likely ones get the probability of longer ones.

From SAFE (arXiv 2510.15346, section 4.3): the first of its two variants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepen_llm.fusion.surfaces.correspondence import Tokens

_SPREAD, _LIKELY = 0.5, 0.1  # the paper's values


def sharpened(fused: Tensor, tokens: Tokens, fits: Tensor) -> Tensor:
    """Give likely tokens the probability of all tokens that begin with their surface.

    This applies where the largest probability is below 1/2, to tokens with a probability above 0.1; where one of these
    begins with another, to the shorter one. The tokens that begin with it have a probability of 0 afterwards.

    Args:
        fused: Fused logits, ``[P, V_m]``.
        tokens: The main model's tokens, sorted by their surfaces.
        fits: The boundaries at which it may apply, bool ``[P]``.

    Returns:
        Logits, ``[P, V_m]``; unchanged to the bit at other boundaries.
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
    by_surface = sorted((tokens.surfaces[token] or b"", token) for token in likely)  # a prefix before its extensions
    for surface, token in by_surface:
        if surface and not logits[token].isneginf():
            extensions = torch.from_numpy(tokens.order[tokens.beginning(surface)]).to(logits.device)
            total = logits[extensions].logsumexp(-1)
            logits[extensions] = -torch.inf
            logits[token] = total
