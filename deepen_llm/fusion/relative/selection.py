"""Selection of anchors: which of the shared ones a fusion method uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.consistency import consistency, is_worth_keeping, key_parts
from deepen_llm.fusion.relative.cosines import Cosines
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.options import Options
from deepen_llm.storage import fingerprints, store

_PROJECTED = 256  # the most dimensions in which distances are measured; the error of an angle is about 1/√256


class AnchorOptions(Options):
    """Which of the shared anchors are used. The end of text is always used where every member has one.

    Attributes:
        anchor_choice: ``all``, or a part of them: drawn at ``random``, those whose relative representations agree most
            between members (``consistent``), or those that are far apart from each other in the main model
            (``spread``).
        anchor_count: How many, the end of text included; None for all. A number above that of shared anchors means all.
        anchor_seed: The seed of ``random``; a smaller ``anchor_count`` with the same seed gives a subset.
    """

    anchor_choice: Literal["all", "random", "consistent", "spread"] = "all"
    anchor_count: int | None = Field(None, ge=1)
    anchor_seed: int = Field(0, ge=0)

    @property
    def by_embedding(self) -> bool:
        """Whether anchors are chosen by the members' embeddings."""
        return self.anchor_choice in ("consistent", "spread")

    @model_validator(mode="after")
    def _choice_and_count(self) -> Self:
        if self.anchor_choice == "all" and self.anchor_count is not None:
            raise ValueError(
                f"expected anchor_choice random, consistent or spread with anchor_count={self.anchor_count}, got "
                "'all': set anchor_choice, or leave anchor_count out"
            )
        if self.anchor_choice != "all" and self.anchor_count is None:
            raise ValueError(
                f"expected anchor_count with anchor_choice={self.anchor_choice!r}, got None: set anchor_count"
            )
        if self.anchor_choice != "random" and self.anchor_seed:
            raise ValueError(
                f"expected anchor_choice='random' with anchor_seed={self.anchor_seed}, got {self.anchor_choice!r}: "
                "leave anchor_seed out"
            )
        return self


def chosen_anchors(
    members: Sequence[Fusible], ids: Tensor, main: int, choice: AnchorOptions, space: SpaceOptions
) -> Tensor:
    """Choose among the anchors that some members share.

    Args:
        members: The members, N of them.
        ids: Their ids of the anchors, ``[N, A]`` (`deepen_llm.vocabulary.shared_anchors`).
        main: Index of the main model among them.
        choice: Which anchors, and how many.
        space: The options of the members' relative spaces, in which consistency and distances are measured.

    Returns:
        The members' ids of the chosen anchors in the same order, ``[N, anchor_count]``; ``ids`` itself where all are
        chosen.
    """
    shared = ids.shape[1]
    count = choice.anchor_count or shared
    if choice.anchor_choice == "all" or count >= shared:
        return ids
    end = [shared - 1] if all(member.vocabulary.end_of_text for member in members) else []
    if choice.anchor_choice == "random":
        generator = torch.Generator().manual_seed(choice.anchor_seed)
        ranked = torch.randperm(shared, generator=generator).tolist()
    elif choice.anchor_choice == "consistent":
        ranked = consistency(members, ids, space).ranked()
    else:
        ranked = _kept_spread(members[main], ids[main], count, end, center=space.center)
    first = [*end, *(column for column in ranked if column not in end)]
    return ids[:, sorted(first[:count])]


def _kept_spread(main: Fusible, ids: Tensor, count: int, end: Sequence[int], *, center: bool) -> list[int]:
    """`spread_out` over a main model's anchors ``[A]``, kept on disk where there are many."""

    def compute() -> dict[str, Tensor]:
        embedding = embedding_of(main)
        vectors = _projected(Cosines(embedding, ids.to(embedding.device), center=center), ids)
        return {"columns": spread_out(vectors, count, end[0] if end else 0)}

    if not is_worth_keeping([main], ids):
        return [int(column) for column in compute()["columns"]]
    key = fingerprints.fingerprint(
        ["spread", *key_parts([main], ids), count, *end, center, _PROJECTED, torch.__version__]
    )
    return [int(column) for column in store.kept("spread", key, compute)["columns"]]


@torch.inference_mode()
def spread_out(vectors: Tensor, count: int, first: int = 0) -> Tensor:
    """Choose points far apart on the sphere: each chosen point is the farthest from those chosen before it.

    The largest angle from a point to the nearest chosen one is at most twice the smallest possible (Gonzalez,
    "Clustering to minimize the maximum intercluster distance", 1985). The cost is a product of ``[A, D]`` and
    ``[D]`` for each chosen point. The result is deterministic.

    Args:
        vectors: The points, ``[A, D]``; only their directions count.
        count: How many points to choose, at most A.
        first: The index of the first one.

    Returns:
        Their indices, int64 ``[count]``, in the order in which they were chosen.
    """
    directions = F.normalize(vectors.float(), dim=-1)
    chosen = [first]
    nearest = directions @ directions[first]  # [A]: cosine to the nearest chosen one
    for _ in range(count - 1):
        nearest[chosen[-1]] = torch.inf  # each point is chosen once
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, directions @ directions[chosen[-1]])
    return torch.tensor(chosen)


@torch.inference_mode()
def _projected(cosines: Cosines, ids: Tensor) -> Tensor:
    """Anchors' embeddings, normalized and projected to at most 256 dimensions, ``[A, ≤ 256]``, on the CPU.

    A random projection keeps angles (Johnson and Lindenstrauss, 1984); its seed is fixed.
    """
    shrink: Tensor | None = None
    if cosines.width > _PROJECTED:
        shrink = torch.randn(cosines.width, _PROJECTED, generator=torch.Generator().manual_seed(0))
    parts = []
    for part in torch.split(ids, 4096):
        directions = F.normalize(cosines.vectors(part.to(cosines.device)), dim=-1).cpu()
        parts.append(directions if shrink is None else directions @ shrink)
    return torch.cat(parts)
