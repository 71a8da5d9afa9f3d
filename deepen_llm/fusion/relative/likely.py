"""Likely tokens: those that get rows of R, the likeliest ones, until they hold nearly all of the mass."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from deepen_llm.options import Options

_LEAST = 8  # the likeliest tokens, which get rows whatever their probability


class RowOptions(Options):
    """Which tokens get rows where R is not dense; the others have stand-ins (docs/method.md).

    Attributes:
        max_rows: The most tokens of each member that get rows (K).
        tail_mass: The probability that may be left to tokens without rows (ε): where fewer than ``max_rows`` tokens
            hold ``1 - ε``, no more get rows.
        negligible: A token with a probability below this gets no row, unless it is one of the 8 likeliest.
    """

    max_rows: int = Field(96, ge=1)
    tail_mass: float = Field(0.02, ge=0, lt=1)
    negligible: float = Field(0.001, ge=0, lt=1)


def needs_fixed_shapes(device: torch.device) -> bool:
    """Whether shapes must not depend on values: on an accelerator, reading a value synchronizes with the device."""
    return device.type != "cpu"


def likely_tokens(p: Tensor, options: RowOptions) -> tuple[Tensor, Tensor]:
    """The ``max_rows`` likeliest tokens, and which of them are needed; no shape depends on a value.

    Args:
        p: Distributions, ``[B, V]``.
        options: How many tokens.

    Returns:
        The tokens, the likeliest first, and whether each is needed, both ``[B, K]``.
    """
    values, tokens = p.topk(min(options.max_rows, p.shape[-1]), dim=-1)
    return tokens, _needed(values, options)


def needed_tokens(p: Tensor, options: RowOptions) -> list[Tensor]:
    """`likely_tokens` without those that are not needed: ``[B, V]`` to B of ``[K_b]``; for the CPU."""
    return [_needed_in(distribution, options) for distribution in p]


def _needed_in(p: Tensor, options: RowOptions) -> Tensor:
    """`needed_tokens` of one distribution, ``[V]`` to ``[K]``."""
    count = min(options.max_rows, len(p))
    candidates = (p > options.tail_mass / (4 * count)).nonzero()[:, 0]  # ten times faster than topk over all
    values = p[candidates]
    if len(candidates) < count and float(values.sum()) < 1 - options.tail_mass:
        values, tokens = p.topk(count)  # some needed tokens are no candidates
    else:
        values, order = values.topk(min(count, len(candidates)))
        tokens = candidates[order]
    return tokens[_needed(values, options)]


def _needed(values: Tensor, options: RowOptions) -> Tensor:
    """Which tokens are needed, ``[..., K]``, by their probabilities in falling order."""
    before, first = values.cumsum(-1) - values, torch.arange(values.shape[-1], device=values.device) < _LEAST
    return (before < 1 - options.tail_mass) & (first | (values >= options.negligible))
