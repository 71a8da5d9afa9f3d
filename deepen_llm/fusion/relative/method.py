"""What every method that goes through a relative space can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ByteSize, Field

from deepen_llm.fusion.base import Fusible, FusionMethod
from deepen_llm.fusion.relative.anchoring import AnchorGroup, anchor_groups
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.likely import RowOptions, needs_fixed_shapes
from deepen_llm.fusion.relative.selection import AnchorOptions

_CPU_STEP_BYTES = 64 * 2**20  # rows of one portion, of each space, on a CPU
_STEP_BYTES = 2**30  # the same on an accelerator


class RelativeMethod(SpaceOptions, RowOptions, AnchorOptions, FusionMethod):
    """The relative space's settings, and how members share it; the defaults are the paper's.

    Attributes:
        anchors: ``joint`` (tokens that all members have) or ``pairwise`` (tokens that a member shares with the main
            model).
        memory_budget: Bytes that dense ``[V, A]`` matrices may take together, or, where they would take more, the rows
            of frequent tokens that are kept on a CPU; as a number or like ``"2GB"``.
        min_anchors: The fewest shared anchors, before any choice, with which members are accepted.
    """

    anchors: Literal["joint", "pairwise"] = "joint"
    memory_budget: ByteSize = ByteSize(128 * 2**20)
    min_anchors: int = Field(32, ge=1)

    def _spaces(self, members: Sequence[Fusible], groups: Sequence[Sequence[int]], main: int) -> list[AnchorGroup]:
        bounds = {"min_anchors": self.min_anchors, "memory_budget": self.memory_budget}
        return anchor_groups(members, groups, self, self, main=main, **bounds)

    def portion(self, groups: Sequence[AnchorGroup]) -> int | None:
        """How many rows of a batch to fuse at a time, that memory may not grow with the batch; None for all."""
        sparse = [space for group in groups for space in group.values() if not space.dense]
        if not sparse:
            return None
        budget = _STEP_BYTES if all(needs_fixed_shapes(space.device) for space in sparse) else _CPU_STEP_BYTES
        return max(1, budget // (4 * self.max_rows * max(len(space.anchors) for space in sparse)))
