"""Evidence whose mass a prior divides over several main tokens."""

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
"""Added to each prior, so that none is 0."""

_FEWEST = 64  # edges of rests; their number is padded to a power of two, so that few shapes occur


@dataclass(frozen=True)
class Shared:
    """Evidence in G groups at B positions; E edges lead from each group to several main tokens.

    Attributes:
        shares: The evidence of each group, ``[B, G]``.
        group: The group of each edge, ``[E]``.
        target: The main token of each edge, ``[E]``.
        beside: The constant that each edge adds to the prior, ``[E]``.
    """

    shares: Tensor
    group: Tensor
    target: Tensor
    beside: Tensor

    def add(self, to: Tensor, prior: Tensor) -> None:
        """Divide the evidence over the main tokens in proportion to a prior.

        Args:
            to: The sum to which it is added, of the prior's shape; contiguous.
            prior: The prior, ``[P, V_m]``; where B is 1, targets are indices into ``[P · V_m]``.
        """
        count = len(self.shares)
        group, target = self.group.expand(count, -1), self.target.expand(count, -1)
        weight = prior.view(count, -1).index_select(1, self.target).add_(self.beside)  # [B, E]
        of_group = torch.zeros_like(self.shares).scatter_add_(1, group, weight)
        weight *= (self.shares / of_group).index_select(1, self.group)
        to.view(count, -1).scatter_add_(1, target, weight)


@dataclass(frozen=True)
class Mixture:
    """The evidence of all members at P positions, before a prior divides it.

    Attributes:
        certain: Evidence for one main token each, ``[P, V_m]``.
        left: Evidence without main tokens, which is distributed as the prior, ``[P, 1]``.
        shared: Evidence that is divided over several main tokens.
    """

    certain: Tensor
    left: Tensor
    shared: Sequence[Shared]

    def over_main_tokens(self, prior: Tensor) -> Tensor:
        """The distribution over main tokens under a prior, both ``[P, V_m]``."""
        fused = torch.addcmul(self.certain, self.left, prior)
        for shared in self.shared:
            shared.add(fused, prior)
        return fused


class Bridges:
    """The edges of all members with other vocabularies.

    Args:
        edges: Each member's.
        width: ``V_m``.
        floor: A constant added to the prior of the main token that begins a token's own text.

    Attributes:
        single: For each token of each member, its only main token; V_m where there is none, V_m + 1 where several.
        tokens: Each member's tokens with several main tokens: the groups, member by member.
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
        self._by_device = dict[torch.device, Bridges]()

    def on(self, device: torch.device) -> Bridges:
        """The same on a device, copied to each device once."""
        if device not in self._by_device:
            other = copy(self)
            other.tokens, other.single = (
                {i: one.to(device) for i, one in each.items()} for each in (self.tokens, self.single)
            )
            other.group, other.target = self.group.to(device), self.target.to(device)
            other.beside = self.beside.to(device)
            self._by_device[device] = other
        return self._by_device[device]


def shares_of(evidence: Mapping[int, Expected], shape: tuple[int, int]) -> Array:
    """Shares of each member's evidence at P positions; a member without evidence counts with its distribution alone.

    Args:
        evidence: By member.
        shape: P and N.

    Returns:
        The share of tokens that begin at the position, the share of all evidence (1 less what is abstained from), and
        the share of rests without main tokens, ``[3, P, N]``.
    """
    shares = np.ones((3, *shape))
    shares[2] = 0.0
    for i, expected in evidence.items():
        shares[:, :, i] = expected.here, expected.known(), expected.lost()
    return shares


def rests(evidence: Mapping[int, Expected], shape: tuple[int, int], width: int, floor: float) -> list[Array]:
    """The rests of straddling tokens, each a group, padded with edges of groups without evidence.

    Args:
        evidence: By member.
        shape: P and N.
        width: ``V_m``.
        floor: See `Bridges`.

    Returns:
        For each group, its index in ``[P · N]`` and its share; for each edge, its group, its target in ``[P · V_m]``
        and the constant that it adds to the prior. Empty where there are no rests.
    """
    known = list(evidence.items())
    *starts, groups = accumulate((len(one.shares) for _, one in known), initial=0)
    size = max(_FEWEST, 1 << max(groups, sum(len(one.rests.groups) for _, one in known)).bit_length())
    columns: list[tuple[list[Array], float]] = [
        ([one.positions * shape[1] + i for i, one in known], 0),
        ([one.shares for _, one in known], 0),
        ([one.rests.groups + start for start, (_, one) in zip(starts, known, strict=True)], groups),
        ([one.positions[one.rests.groups] * width + one.rests.targets for _, one in known], 0),
        ([TINY + floor * one.rests.spelled for _, one in known], 1),
    ]
    return [_padded(np.concatenate(parts), size, value) for parts, value in columns] if groups else []


def _padded(values: Array, size: int, value: float) -> Array:
    padded = np.full(size, value, values.dtype)
    padded[: len(values)] = values
    return padded
