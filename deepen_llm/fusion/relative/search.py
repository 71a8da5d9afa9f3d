"""The inverse transformation by search (arXiv 2404.12715, 3.4), with closed-form gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepen_llm.fusion.relative.rows import Rows

_BETAS, _EPS, _DECAY = (0.9, 0.999), 1e-8, 0.01  # AdamW's defaults, with which the paper's results were made
_COSINE_PERIOD, _COSINE_FLOOR = 10, 0.25  # the schedule: half a period in steps, floor as a share of the rate

Observer = Callable[[Tensor, float], None]
"""Called at the start of a search of one distribution and after every step: the logits ``[1, V]``, the objective."""


def search_logits(
    start: Tensor,
    targets: Sequence[Tensor],
    rows: Sequence[Rows],
    *,
    relr: float,
    search_steps: int,
    observe: Observer | None = None,
) -> Tensor:
    """Main-model logits whose relative distribution comes nearer to the targets.

    Minimises ``Σ_g mean_a KL(target_g ‖ softmax(z) R_g)`` by AdamW from ``z = start``. The mean over anchors puts
    the gradients of unlikely tokens near the optimizer's epsilon, so that their logits hardly move; this is intended.

    Args:
        start: The main model's own logits, ``[B, V]``.
        targets: Aggregated relative distributions, one ``[B, A_g]`` for each set of anchors.
        rows: The main model's relative representations over the same sets of anchors.
        relr: Relative ensemble learning rate η; 0 leaves the logits as they are.
        search_steps: Number of search steps T.
        observe: Called at the start and after every step.

    Returns:
        The logits after the last step, ``[B, V]``.
    """
    only_map = rows[0] if len(rows) == 1 else None  # its order of tokens is kept during the search
    z = only_map.to_map_order(start) if only_map else start
    z = z.clone() if z is start else z
    first, second = torch.zeros_like(start), torch.zeros_like(start)  # AdamW's moments
    _report(observe, start, targets, rows)
    for step in range(1, search_steps + 1):
        rate = _rate(relr, step - 1)
        gradient = _gradient(z.softmax(-1), targets, rows, in_order=only_map is not None)
        first.lerp_(gradient, 1 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        spread = torch.sqrt(second, out=gradient).div_(math.sqrt(1 - _BETAS[1] ** step)).add_(_EPS)
        z.mul_(1 - rate * _DECAY).addcdiv_(first, spread, value=-rate / (1 - _BETAS[0] ** step))
        _report(observe, only_map.to_token_order(z) if only_map else z, targets, rows)
    return only_map.to_token_order(z) if only_map else z


def _report(observe: Observer | None, z: Tensor, targets: Sequence[Tensor], rows: Sequence[Rows]) -> None:
    if observe:
        p, tiny = z.softmax(-1), torch.finfo(z.dtype).tiny
        relative = [view.to_anchors(view.to_map_order(p)).clamp_min_(tiny) for view in rows]
        terms = [(target.xlogy(target) - target.xlogy(r)).mean() for target, r in zip(targets, relative, strict=True)]
        observe(z.clone(), float(torch.stack(terms).sum()))


def _gradient(p: Tensor, targets: Sequence[Tensor], rows: Sequence[Rows], *, in_order: bool) -> Tensor:
    """``∂/∂z Σ_g mean_a KL(target_g ‖ p R_g)`` at ``p = softmax(z)``: ``[B, V]``; exactly zero at the target."""
    total: Tensor | None = None
    for target, view in zip(targets, rows, strict=True):
        r = view.to_anchors(p if in_order else view.to_map_order(p)).clamp_min_(torch.finfo(p.dtype).tiny)
        missed = (target - r).sum(-1, keepdim=True)  # [B, 1]
        # Rows of R sum to 1, so subtracting 1 removes a constant that would cancel below and only cost precision.
        slope = view.to_tokens(torch.div(target, r, out=r).sub_(1))  # [B, V]
        slope = slope if in_order else view.to_token_order(slope)
        slope.sub_(missed).mul_(p).div_(-target.shape[-1])
        total = slope if total is None else total.add_(slope)
    return torch.zeros_like(p) if total is None else total


def _rate(relr: float, step: int) -> float:
    floor = relr * _COSINE_FLOOR
    return floor + (relr - floor) * (1 + math.cos(math.pi * step / _COSINE_PERIOD)) / 2
