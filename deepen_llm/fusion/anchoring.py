"""Which members share which anchors, and the relative spaces over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.errors import VocabularyError
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative import RelativeSpace, Rows, SpaceOptions, top_tokens
from deepen_llm.vocabulary import shared_anchors


@dataclass(frozen=True)
class AnchorGroup:
    """Members that speak to each other over one set of anchors.

    Attributes:
        spaces: Each of these members' relative space, by member index; the main model's is among them.
    """

    spaces: dict[int, RelativeSpace]


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
    dense = sum(
        members[i].vocabulary.size * shared.shape[1] * 4
        for group, shared in zip(groups, anchors, strict=True)
        for i in group
    )
    limit = memory_budget if dense <= memory_budget else 0
    return [
        AnchorGroup(
            {
                i: RelativeSpace(members[i].embedding, ids, options, members[i].vocabulary.size, limit)
                for i, ids in zip(group, shared, strict=True)
            }
        )
        for group, shared in zip(groups, anchors, strict=True)
    ]


def main_rows(group: AnchorGroup, main: int, p: Sequence[Tensor], max_rows: int) -> Rows:
    """The main model's map R, with rows for its own likeliest tokens and for the anchors that others find likely.

    Args:
        group: The anchors in question.
        main: Index of the main model.
        p: Every member's distribution, ``[B, V_i]``.
        max_rows: How many likeliest tokens of each member get rows.
    """
    space = group.spaces[main]
    tokens = top_tokens(p[main], max_rows)
    for i, other in group.spaces.items():
        if i != main:
            likely = other.likely_anchors(p[i], max_rows)
            tokens = [
                torch.unique(torch.cat([ids, space.anchors[places.to(ids.device)]]))
                for ids, places in zip(tokens, likely, strict=True)
            ]
    return space.view(tokens)


def _check_count(names: Sequence[str], count: int, least: int) -> None:
    if count < least:
        raise VocabularyError(
            f"{' and '.join(names)} share {count} anchors; at least {least} are needed to compare their tokens",
            hint="choose members whose vocabularies overlap, or lower min_anchors in the fusion method",
        )
