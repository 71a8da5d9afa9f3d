"""Anchor groups: members that share anchors, and their relative spaces over them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepen_llm.errors import VocabularyError
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.selection import AnchorOptions, chosen_anchors
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.vocabulary import shared_anchors

AnchorGroup = dict[int, RelativeSpace]
"""The relative spaces over one set of anchors, by member index."""


def anchor_groups(
    members: Sequence[Fusible],
    groups: Sequence[Sequence[int]],
    options: SpaceOptions,
    choice: AnchorOptions,
    *,
    main: int,
    min_anchors: int,
    memory_budget: int,
) -> list[AnchorGroup]:
    """Build the relative spaces of each group of members over the anchors that the group shares.

    Args:
        members: All members.
        groups: Member indices of each group.
        options: The options of every space.
        choice: Which of the shared anchors are used.
        main: Index of the main model, which is in every group.
        min_anchors: The fewest anchors that a group must share.
        memory_budget: Bytes that all dense matrices together may take. Where they would take more, none is built, and
            the row caches of the spaces share these bytes.

    Raises:
        VocabularyError: The members of a group share fewer than ``min_anchors`` anchors.
    """
    anchors = [shared_anchors([members[i].vocabulary for i in group]) for group in groups]
    for group, shared in zip(groups, anchors, strict=True):
        _check_count([members[i].name for i in group], shared.shape[1], min_anchors)
    anchors = [
        chosen_anchors([members[i] for i in group], shared, list(group).index(main), choice, options)
        for group, shared in zip(groups, anchors, strict=True)
    ]
    ids_by_group = [list(zip(group, shared, strict=True)) for group, shared in zip(groups, anchors, strict=True)]
    size = sum(4 * members[i].vocabulary.size * len(ids) for pairs in ids_by_group for i, ids in pairs)
    dense, kept = size <= memory_budget, memory_budget // max(1, sum(map(len, ids_by_group)))

    def space(i: int, ids: Tensor) -> RelativeSpace:
        member = members[i]
        return RelativeSpace(
            embedding_of(member), ids, options, member.vocabulary.size, dense=dense, kept_bytes=0 if dense else kept
        )

    return [{i: space(i, ids) for i, ids in pairs} for pairs in ids_by_group]


def _check_count(names: Sequence[str], count: int, least: int) -> None:
    if count < least:
        raise VocabularyError(
            f"expected at least {least} shared anchors, got {count} of {' and '.join(names)}",
            hint="lower min_anchors, choose members whose vocabularies overlap, or fusion='surface', which needs none",
        )
