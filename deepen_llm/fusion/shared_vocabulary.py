"""Distributions of members that have the main model's vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from deepen_llm.fusion.base import EndOfText


def in_main_ids(p: Tensor, member: EndOfText, main: EndOfText, width: int) -> Tensor:
    """A member's distributions ``[B, V_i]`` over the main model's ids, ``[B, V_m]``.

    The two differ in padding and in end-of-text ids only.

    Args:
        p: Distributions, the end of text folded into one token.
        member: The member's end-of-text role.
        main: The main model's end-of-text role.
        width: ``V_m``.
    """
    out = torch.zeros(p.shape[0], width, device=p.device)
    shared = min(width, p.shape[1])
    out[:, :shared] = p[:, :shared]
    if main.ids:
        for end in {*main.ids, *member.ids} - {main.ids[0]}:
            out[:, main.ids[0]] += out[:, end]
            out[:, end] = 0.0
    return out
