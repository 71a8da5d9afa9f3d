"""The paper's picture of relative representations: the same tokens in several members, in one plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from deepen_llm.diagnostics.agreement import CALIBRATED
from deepen_llm.diagnostics.anchor_comparison import anchor_texts
from deepen_llm.errors import ConfigError
from deepen_llm.extras import require
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.consistency import AnchorView
from deepen_llm.vocabulary import shared_anchors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXAMPLES = 4  # tokens that stand for a cluster


@dataclass(frozen=True, eq=False)
class Projection:
    """The same anchors' relative representations in several members, in one plane.

    Attributes:
        members: The members' names, N of them.
        points: Each member's anchors, ``[N, K, 2]``.
        explained: The share of all members' variance that each of the two axes holds.
        centres: The centres of the first member's clusters, ``[C, 2]``, the largest cluster first.
        clusters: The cluster whose centre is nearest to each point, ``[N, K]``.
        examples: For each cluster, the texts of the tokens nearest to its centre in the first member.
    """

    members: tuple[str, ...]
    points: NDArray[np.float64]
    explained: tuple[float, float]
    centres: NDArray[np.float64]
    clusters: NDArray[np.int64]
    examples: tuple[tuple[str, ...], ...]

    def kept(self, member: int) -> tuple[float, float]:
        """The share of anchors that lie in the same cluster in a member as in the first one, and that by chance."""
        mine, first = self.clusters[member], self.clusters[0]
        sizes = [np.bincount(one, minlength=len(self.centres)) / len(one) for one in (mine, first)]
        return float((mine == first).mean()), float(sizes[0] @ sizes[1])


def project(members: Sequence[Fusible], *, sample: int = 600, clusters: int = 6) -> Projection:
    """Project anchors that all members share into one plane, and group them where they lie in the first member.

    What is projected is a row of centred cosines per anchor and member, as relative representations have them before
    their softmax (after it, an anchor is nearly all by itself), without the anchor itself, each member's mean taken
    off, of length 1: by PCA over all members' rows together. Then k-means of the first member's points.

    Args:
        members: The members, N of them.
        sample: The most anchors, K of them; evenly spaced.
        clusters: How many clusters, C, at most.

    Raises:
        ConfigError: There is no scikit-learn, or there are fewer than three anchors.
        VocabularyError: The members share no anchor.
    """
    cluster, decomposition = require("sklearn.cluster", "plot"), require("sklearn.decomposition", "plot")
    ids = shared_anchors([member.vocabulary for member in members])
    if ids.shape[1] < 3:
        raise ConfigError(f"{ids.shape[1]} shared anchors make no picture", hint="choose members that share more")
    columns = torch.linspace(0, ids.shape[1] - 1, min(sample, ids.shape[1])).long()
    rows = _rows(members, ids, columns)  # [N, K, U]
    plane = decomposition.PCA(2, random_state=0).fit(rows.reshape(-1, rows.shape[2]))
    points = np.stack([plane.transform(row) for row in rows])
    groups = cluster.KMeans(min(clusters, len(columns)), n_init=4, random_state=0).fit(points[0])
    order = np.argsort(-np.bincount(groups.labels_), kind="stable")
    centres = groups.cluster_centers_[order]
    texts = anchor_texts(members[0].vocabulary, ids[0, columns])
    return Projection(
        members=tuple(member.name for member in members),
        points=points,
        explained=(float(plane.explained_variance_ratio_[0]), float(plane.explained_variance_ratio_[1])),
        centres=centres,
        clusters=np.stack([_nearest(one, centres) for one in points]),
        examples=tuple(tuple(texts[i] for i in _closest(points[0], centre)) for centre in centres),
    )


@torch.inference_mode()
def _rows(members: Sequence[Fusible], ids: torch.Tensor, columns: torch.Tensor) -> NDArray[np.float64]:
    views = [AnchorView(member, one, CALIBRATED) for member, one in zip(members, ids, strict=True)]
    cosines = [view.cosines(columns) for view in views]
    rows: NDArray[np.float64] = torch.stack([F.normalize(one - one.mean(0)) for one in cosines]).double().numpy()
    return rows


def _distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.linalg.norm(points[:, None] - centres[None], axis=-1)  # [K, C], both few
    return found


def _nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = _distances(points, centres).argmin(1)
    return nearest


def _closest(points: NDArray[np.float64], centre: NDArray[np.float64]) -> list[int]:
    return [int(i) for i in _distances(points, centre[None])[:, 0].argsort(kind="stable")[:_EXAMPLES]]
