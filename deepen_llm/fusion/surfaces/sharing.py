"""Evidence that several main tokens share, as a prior has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from deepen_llm.fusion.surfaces.correspondence import Edges
from deepen_llm.fusion.surfaces.expected import Expected
from deepen_llm.fusion.surfaces.transfer import Array

TINY = 1e-12
"""Beside each prior, so that none is 0."""

_FEWEST = 64  # edges of rests, and a power of two of them, so that few shapes occur


@dataclass(frozen=True)
class Shared:
    """Evidence in G groups, each of which E edges lead from to several main tokens, in B rows.

    Attributes:
        shares: The evidence of each group, ``[B, G]``.
        group: For each edge, its group, ``[E]``.
        target: Its main token, ``[E]``.
        beside: What it counts beside the prior, ``[E]``.
    """

    shares: Tensor
    group: Tensor
    target: Tensor
    beside: Tensor

    def add(self, to: Tensor, prior: Tensor) -> None:
        """Bring it to the main tokens.

        Args:
            to: What it is added to, of the prior's shape; contiguous.
            prior: How main tokens share, ``[P, V_m]``; where B is 1, targets are places in ``[P · V_m]``.
        """
        rows = len(self.shares)
        group, target = self.group.expand(rows, -1), self.target.expand(rows, -1)
        weight = prior.view(rows, -1).index_select(1, self.target).add_(self.beside)  # [B, E]
        of_group = torch.zeros_like(self.shares).scatter_add_(1, group, weight)
        weight *= (self.shares / of_group).index_select(1, self.group)
        to.view(rows, -1).scatter_add_(1, target, weight)


@dataclass(frozen=True)
class Mixture:
    """What all evidence comes to at P places, ahead of a prior.

    Attributes:
        certain: What goes to one main token each, ``[P, V_m]``.
        left: What has no main tokens and stays with the prior, ``[P, 1]``.
        shared: What several main tokens share.
    """

    certain: Tensor
    left: Tensor
    shared: Sequence[Shared]

    def back(self, prior: Tensor) -> Tensor:
        """The distribution over main tokens, by a prior, ``[P, V_m]`` both."""
        fused = torch.addcmul(self.certain, self.left, prior)
        for one in self.shared:
            one.add(fused, prior)
        return fused


class Bridges:
    """The edges of all members with other vocabularies.

    Args:
        edges: Each member's.
        width: ``V_m``.
        floor: What the main token that begins a token's own text counts beside its prior.

    Attributes:
        single: Of each member, for each token, its one main token; V_m where there are none, V_m + 1 where several.
        tokens: Of each member, its tokens with several: the groups, member by member.
        group, target, beside: See `Shared`, in the order of main tokens.
    """

    def __init__(self, edges: Mapping[int, Edges], width: int, floor: float) -> None:
        self.tokens = {i: one.tokens for i, one in edges.items()}
        self.single = {i: one.single.index_fill(0, one.tokens, width + 1) for i, one in edges.items()}
        starts = accumulate((len(one) for one in self.tokens.values()), initial=0)
        pairs = [one.several + torch.tensor([[start], [0]]) for start, one in zip(starts, edges.values(), strict=False)]
        spelled = torch.cat([torch.zeros(0), *(one.spelled for one in edges.values())])
        several = torch.cat([torch.zeros(2, 0, dtype=torch.long), *pairs], 1)
        order = several[1].argsort()
        self.group, self.target = several[:, order]
        self.beside = TINY + floor * spelled[order]
        self._sent = dict[torch.device, Bridges]()

    def on(self, device: torch.device) -> Bridges:
        """The same on a device, sent there once."""
        if device not in self._sent:
            other = copy(self)
            other.tokens, other.single = (
                {i: one.to(device) for i, one in each.items()} for each in (self.tokens, self.single)
            )
            other.group, other.target = self.group.to(device), self.target.to(device)
            other.beside = self.beside.to(device)
            self._sent[device] = other
        return self._sent[device]


def told(evidence: Mapping[int, Expected], shape: tuple[int, int]) -> Array:
    """Of the evidence at P places of each of N members; 1 where one is only heard here.

    Args:
        evidence: By member.
        shape: P and N.

    Returns:
        The share of what begins here, all that is not abstained from, and what rests without main tokens have of it,
        ``[3, P, N]``.
    """
    found = np.ones((3, *shape))
    found[2] = 0.0
    for i, one in evidence.items():
        found[:, :, i] = one.here, one.heard(), one.lost()
    return found


def rests(evidence: Mapping[int, Expected], shape: tuple[int, int], width: int, floor: float) -> list[Array]:
    """The rests of straddling tokens, each a group, padded with edges of groups without evidence.

    Args:
        evidence: By member.
        shape: P and N.
        width: ``V_m``.
        floor: See `Bridges`.

    Returns:
        Each group's place in ``[P · N]`` and its share; each edge's group, its target in ``[P · V_m]``, and what it
        counts beside the prior. Empty where there are no rests.
    """
    known = list(evidence.items())
    *starts, groups = accumulate((len(one.shares) for _, one in known), initial=0)
    size = max(_FEWEST, 1 << max(groups, sum(len(one.rests.groups) for _, one in known)).bit_length())
    columns: list[tuple[list[Array], float]] = [
        ([one.places * shape[1] + i for i, one in known], 0),
        ([one.shares for _, one in known], 0),
        ([one.rests.groups + start for start, (_, one) in zip(starts, known, strict=True)], groups),
        ([one.places[one.rests.groups] * width + one.rests.targets for _, one in known], 0),
        ([TINY + floor * one.rests.spelled for _, one in known], 1),
    ]
    return [_padded(np.concatenate(parts), size, value) for parts, value in columns] if groups else []


def _padded(values: Array, size: int, value: float) -> Array:
    padded = np.full(size, value, values.dtype)
    padded[: len(values)] = values
    return padded
