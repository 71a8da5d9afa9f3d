"""Which tokens get rows of their own: the likeliest ones, until they hold nearly all of the mass."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from deepen_llm.options import Options

_LEAST = 8  # tokens that need rows however unlikely: one of them will be chosen


class RowOptions(Options):
    """Where not all rows are kept: which tokens get rows of their own; the others have stand-ins (docs/method.md).

    Attributes:
        max_rows: The most tokens of each member that get rows (K).
        tail_mass: The probability that may be left to tokens without rows (ε): where fewer than ``max_rows`` tokens
            hold ``1 - ε``, no more get rows.
        negligible: A token less likely than this gets no row, unless it is among the 8 likeliest.
    """

    max_rows: int = Field(96, ge=1)
    tail_mass: float = Field(0.02, ge=0, lt=1)
    negligible: float = Field(0.001, ge=0, lt=1)


def needs_fixed_shapes(device: torch.device) -> bool:
    """Whether shapes must not depend on values: off the CPU, looking at a value waits for all work in flight."""
    return device.type != "cpu"


def likely_tokens(p: Tensor, options: RowOptions) -> tuple[Tensor, Tensor]:
    """The ``max_rows`` likeliest tokens, and which of them are needed: shapes that depend on no value.

    Args:
        p: Distributions, ``[B, V]``.
        options: How many tokens.

    Returns:
        Tokens, the likeliest first, and whether each is needed, ``[B, K]`` both.
    """
    values, tokens = p.topk(min(options.max_rows, p.shape[-1]), dim=-1)
    return tokens, _needed(values, options)


def needed_tokens(p: Tensor, options: RowOptions) -> list[Tensor]:
    """`likely_tokens` without those that are not needed: ``[B, V]`` to B of ``[K_b]``; for the CPU."""
    return [_needed_of_one(row, options) for row in p]


def _needed_of_one(p: Tensor, options: RowOptions) -> Tensor:
    count = min(options.max_rows, len(p))
    candidates = (p > options.tail_mass / (4 * count)).nonzero()[:, 0]  # a tenth of the time of topk over all
    values = p[candidates]
    if len(candidates) < count and float(values.sum()) < 1 - options.tail_mass:
        values, tokens = p.topk(count)  # some of those wanted are no candidates
    else:
        values, order = values.topk(min(count, len(candidates)))
        tokens = candidates[order]
    return tokens[_needed(values, options)]


def _needed(values: Tensor, options: RowOptions) -> Tensor:
    """Of the likeliest tokens' probabilities, falling: which are needed, ``[..., K]``."""
    before, first = values.cumsum(-1) - values, torch.arange(values.shape[-1], device=values.device) < _LEAST
    return (before < 1 - options.tail_mass) & (first | (values >= options.negligible))
