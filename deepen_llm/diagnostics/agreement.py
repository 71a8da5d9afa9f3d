"""Agreement of members' relative representations of their shared anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from deepen_llm.fusion import Bayes, Deepen
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.vocabulary import shared_anchors

NEIGHBORS = 10
"""The number of nearest anchors to compare."""

_BLOCK_BYTES = 32 * 2**20  # of one member's rows in memory at a time


@dataclass(frozen=True)
class Agreement:
    """The agreement of members on the anchors that all of them share.

    Attributes:
        anchors: The number of shared anchors, A.
        sampled: The number of anchors that were compared.
        self_mass: For each member, the mean mass of an anchor's row on the anchor itself.
        cosine: The mean cosine similarity of the members' rows; high if most mass is on the anchor itself.
        cosine_others: The same without the anchor itself in each row.
        neighbors: The share of an anchor's nearest other anchors that two members have in common.
        chance: The expected share for unrelated members.
    """

    anchors: int
    sampled: int
    self_mass: tuple[float, ...]
    cosine: float
    cosine_others: float
    neighbors: float
    chance: float


PAPER, CALIBRATED = Deepen(), Bayes()
"""The paper's layout and the calibrated one (docs/method.md)."""


@torch.inference_mode()
def agreement(members: Sequence[Fusible], options: SpaceOptions, *, sample: int = 512) -> Agreement:
    """Compare two or more members' relative representations of the anchors that all of them share.

    With ``R_i`` a member's relative representations over these anchors, over a sample of anchors ``a``, evenly spaced,
    and all pairs of members ``i < j``:

        cosine        = mean_{a, i<j} cos(R_i[a], R_j[a])
        cosine_others = mean_{a, i<j} cos(R_i[a, ≠a], R_j[a, ≠a])
        neighbors    = mean_{a, i<j} |N_i(a) ∩ N_j(a)| / k,   N_i(a): the k = 10 largest entries of R_i[a, ≠a]
        chance        = k / (A - 1)

    Memory is bounded by one block of rows per member.

    Args:
        members: The members, N of them.
        options: The layout of their relative spaces.
        sample: The most anchors to compare.

    Raises:
        VocabularyError: The members share no anchor.
    """
    anchors = shared_anchors([member.vocabulary for member in members])  # [N, A]
    count = anchors.shape[1]
    spaces = _spaces(members, anchors, options)
    blocks = [_compare(spaces, block) for block in _blocks(count, sample)]
    self_mass, cosine, others, neighbors = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return Agreement(
        anchors=count,
        sampled=len(self_mass),
        self_mass=tuple(self_mass.mean(0).tolist()),
        cosine=float(cosine.mean()),
        cosine_others=float(others.nanmean()),
        neighbors=float(neighbors.mean()),
        chance=min(NEIGHBORS, count - 1) / max(1, count - 1),
    )


@torch.inference_mode()
def self_masses(members: Sequence[Fusible], options: SpaceOptions, *, sample: int = 512) -> Tensor:
    """Compute the mass of single anchors' rows on the anchor itself, whose mean is `Agreement.self_mass`.

    Args:
        members: The members, N of them.
        options: The layout of their relative spaces.
        sample: The most anchors, K of them, evenly spaced.

    Returns:
        Self-masses, ``[N, K]``.

    Raises:
        VocabularyError: The members share no anchor.
    """
    spaces = _spaces(members, shared_anchors([member.vocabulary for member in members]), options)
    blocks = _blocks(len(spaces[0].anchors), sample)
    return torch.cat([torch.stack([_self_mass(space, block) for space in spaces]) for block in blocks], 1)


def _self_mass(space: RelativeSpace, indices: Tensor) -> Tensor:
    return space.rows(space.anchors[indices.to(space.device)]).cpu().gather(1, indices.unsqueeze(1))[:, 0]


def _spaces(members: Sequence[Fusible], anchors: Tensor, options: SpaceOptions) -> list[RelativeSpace]:
    return [
        RelativeSpace(embedding_of(member), ids, options, member.vocabulary.size, dense=False)
        for member, ids in zip(members, anchors, strict=True)
    ]


def _blocks(count: int, sample: int) -> tuple[Tensor, ...]:
    """Evenly spaced indices of anchors, in blocks whose rows fit a bounded memory."""
    indices = torch.linspace(0, count - 1, min(count, sample)).long()
    return torch.split(indices, max(1, _BLOCK_BYTES // (4 * count)))


def _compare(spaces: Sequence[RelativeSpace], indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Self-mass ``[K, N]`` and the measures of every pair ``[K, pairs]``, for the anchors at ``indices`` ``[K]``."""
    rows = [space.rows(space.anchors[indices.to(space.device)]).cpu() for space in spaces]  # N of [K, A]
    columns = indices.unsqueeze(1)
    without = [row.scatter(1, columns, 0.0) for row in rows]
    k = min(NEIGHBORS, rows[0].shape[1] - 1)
    near = [row.scatter(1, columns, -1.0).topk(k).indices for row in rows]  # N of [K, k]
    pairs = list(combinations(range(len(spaces)), 2))
    return (
        torch.cat([row.gather(1, columns) for row in rows], 1),
        torch.stack([F.cosine_similarity(rows[i], rows[j]) for i, j in pairs], 1),
        torch.stack([_cosine_or_nan(without[i], without[j]) for i, j in pairs], 1),
        torch.stack([_overlap(near[i], near[j]) for i, j in pairs], 1),
    )


def _cosine_or_nan(left: Tensor, right: Tensor) -> Tensor:
    """Row-wise cosine similarity; NaN where both rows are zero: all their mass is on the anchor itself."""
    both_zero = (left.amax(1) == 0) & (right.amax(1) == 0)
    return torch.where(both_zero, torch.nan, F.cosine_similarity(left, right, eps=1e-30))


def _overlap(left: Tensor, right: Tensor) -> Tensor:
    return (left.unsqueeze(2) == right.unsqueeze(1)).any(2).float().mean(1)
