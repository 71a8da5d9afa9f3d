"""Which members share which anchors, and the relative spaces over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.errors import VocabularyError
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative import RelativeSpace, SpaceOptions, top_tokens
from deepen_llm.fusion.rows import Rows
from deepen_llm.vocabulary import shared_anchors

AnchorGroup = dict[int, RelativeSpace]
"""Members that speak to each other over one set of anchors: their relative spaces by member index."""


def anchor_groups(
    members: Sequence[Fusible],
    groups: Sequence[Sequence[int]],
    options: SpaceOptions,
    *,
    min_anchors: int,
    memory_budget: int,
) -> list[AnchorGroup]:
    """Build the relative spaces of each group of members over the anchors that the group shares.

    Args:
        members: All members.
        groups: Member indices of each group.
        options: The layout of every space.
        min_anchors: The fewest anchors that a group must share.
        memory_budget: Bytes that all dense matrices together may take; where they would take more, none is made.

    Raises:
        VocabularyError: The members of a group share fewer than ``min_anchors`` anchors.
    """
    anchors = [shared_anchors([members[i].vocabulary for i in group]) for group in groups]
    for group, shared in zip(groups, anchors, strict=True):
        _check_count([members[i].name for i in group], shared.shape[1], min_anchors)
    places = [list(zip(group, shared, strict=True)) for group, shared in zip(groups, anchors, strict=True)]
    size = sum(4 * members[i].vocabulary.size * len(ids) for place in places for i, ids in place)
    return [
        {
            i: RelativeSpace(
                members[i].embedding, ids, options, members[i].vocabulary.size, dense=size <= memory_budget
            )
            for i, ids in place
        }
        for place in places
    ]


def main_rows(group: AnchorGroup, main: int, p: Sequence[Tensor], max_rows: int) -> Rows:
    """The main model's map R, with rows for its own likeliest tokens and for the anchors that others find likely.

    Args:
        group: The anchors in question.
        main: Index of the main model.
        p: Every member's distribution, ``[B, V_i]``.
        max_rows: How many likeliest tokens of each member get rows.
    """
    space = group[main]

    def tokens() -> list[Tensor]:
        found = [top_tokens(p[main], max_rows)]
        found += [
            [space.anchors[places.to(space.device)] for places in other.likely_anchors(p[i], max_rows)]
            for i, other in group.items()
            if i != main
        ]
        return [torch.unique(torch.cat(row)) for row in zip(*found, strict=True)]

    return space.view(tokens)


def _check_count(names: Sequence[str], count: int, least: int) -> None:
    if count < least:
        raise VocabularyError(
            f"{' and '.join(names)} share {count} anchors; at least {least} are needed to compare their tokens",
            hint="choose members whose vocabularies overlap, or lower min_anchors in the fusion method",
        )
