"""What every method that goes through a relative space can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ByteSize, Field

from deepen_llm.fusion.anchoring import AnchorGroup, anchor_groups
from deepen_llm.fusion.base import Fusible, FusionMethod
from deepen_llm.fusion.relative import SpaceOptions


class RelativeMethod(SpaceOptions, FusionMethod):
    """The relative space's settings, and how members share it; the defaults are the paper's.

    Attributes:
        anchors: ``joint`` (tokens that all members have) or ``pairwise`` (tokens that a member shares with the main
            model).
        max_rows: Where a dense matrix exceeds the budget: the likeliest tokens of each member that get rows of their
            own (K); the others share the mean row.
        memory_budget: Bytes that dense ``[V, A]`` matrices may take together, as a number or like ``"2GB"``.
        min_anchors: The fewest anchors with which members are accepted.
    """

    anchors: Literal["joint", "pairwise"] = "joint"
    max_rows: int = Field(1024, ge=1)
    memory_budget: ByteSize = ByteSize(256 * 2**20)
    min_anchors: int = Field(32, ge=1)

    def _spaces(self, members: Sequence[Fusible], groups: Sequence[Sequence[int]]) -> list[AnchorGroup]:
        return anchor_groups(members, groups, self, min_anchors=self.min_anchors, memory_budget=self.memory_budget)
