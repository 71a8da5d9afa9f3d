"""Projection of relative representations into a plane: the same tokens in several members (the paper's figure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from deepen_llm.diagnostics.agreement import CALIBRATED
from deepen_llm.errors import ConfigError
from deepen_llm.extras import require
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.consistency import AnchorView
from deepen_llm.vocabulary import shared_anchors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXAMPLES = 4  # tokens shown for a cluster


@dataclass(frozen=True, eq=False)
class Projection:
    """Relative representations of the same anchors in several members, projected into one plane.

    Attributes:
        members: The members' names, N of them.
        points: Each member's anchors, ``[N, K, 2]``.
        explained: The share of all members' variance that each of the two axes explains.
        centers: The centers of the first member's clusters, ``[C, 2]``, the largest cluster first.
        clusters: The cluster whose center is nearest to each point, ``[N, K]``.
        examples: For each cluster, the texts of the tokens nearest to its center in the first member.
    """

    members: tuple[str, ...]
    points: NDArray[np.float64]
    explained: tuple[float, float]
    centers: NDArray[np.float64]
    clusters: NDArray[np.int64]
    examples: tuple[tuple[str, ...], ...]

    def kept(self, member: int) -> tuple[float, float]:
        """Compute the share of anchors in the same cluster in a member and the first one, and that share by chance."""
        mine, first = self.clusters[member], self.clusters[0]
        sizes = [np.bincount(labels, minlength=len(self.centers)) / len(labels) for labels in (mine, first)]
        return float((mine == first).mean()), float(sizes[0] @ sizes[1])


def project(members: Sequence[Fusible], *, sample: int = 600, clusters: int = 6) -> Projection:
    """Project the shared anchors of all members into a plane by PCA; cluster the first member's points by k-means.

    Each anchor of each member is projected by its row of centered cosines before the softmax (after it, nearly all
    mass is on the anchor itself), without the anchor itself, minus the member's mean, scaled to length 1. The PCA is
    over all members' rows together.

    Args:
        members: The members, N of them.
        sample: The most anchors, K of them; evenly spaced.
        clusters: How many clusters, C, at most.

    Raises:
        ConfigError: scikit-learn is missing, or the members share fewer than three anchors.
        VocabularyError: The members share no anchor.
    """
    cluster, decomposition = require("sklearn.cluster", "plot"), require("sklearn.decomposition", "plot")
    ids = shared_anchors([member.vocabulary for member in members])
    if ids.shape[1] < 3:
        raise ConfigError(
            f"expected at least three shared anchors, got {ids.shape[1]}", hint="choose members that share more"
        )
    columns = torch.linspace(0, ids.shape[1] - 1, min(sample, ids.shape[1])).long()
    rows = _rows(members, ids, columns)  # [N, K, U]
    plane = decomposition.PCA(2, random_state=0).fit(rows.reshape(-1, rows.shape[2]))
    points = np.stack([plane.transform(row) for row in rows])
    groups = cluster.KMeans(min(clusters, len(columns)), n_init=4, random_state=0).fit(points[0])
    order = np.argsort(-np.bincount(groups.labels_), kind="stable")
    centers = groups.cluster_centers_[order]
    texts = list(map(members[0].vocabulary.shown, ids[0, columns].tolist()))
    return Projection(
        members=tuple(member.name for member in members),
        points=points,
        explained=(float(plane.explained_variance_ratio_[0]), float(plane.explained_variance_ratio_[1])),
        centers=centers,
        clusters=np.stack([_nearest(member, centers) for member in points]),
        examples=tuple(tuple(texts[i] for i in _closest(points[0], center)) for center in centers),
    )


@torch.inference_mode()
def _rows(members: Sequence[Fusible], ids: torch.Tensor, columns: torch.Tensor) -> NDArray[np.float64]:
    views = [AnchorView(member, anchors, CALIBRATED) for member, anchors in zip(members, ids, strict=True)]
    cosines = [view.cosines(columns) for view in views]
    rows: NDArray[np.float64] = torch.stack([F.normalize(each - each.mean(0)) for each in cosines]).double().numpy()
    return rows


def _distances(points: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(points[:, None] - centers[None], axis=-1)  # [K, C]
    return distances


def _nearest(points: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = _distances(points, centers).argmin(1)
    return nearest


def _closest(points: NDArray[np.float64], center: NDArray[np.float64]) -> list[int]:
    return [int(i) for i in _distances(points, center[None])[:, 0].argsort(kind="stable")[:_EXAMPLES]]
