"""Options of every fusion method that uses a relative space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import ByteSize, Field

from deepen_llm.fusion.base import Fusible, FusionMethod
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.relative.anchoring import AnchorGroup, anchor_groups
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.likely import RowOptions, needs_fixed_shapes
from deepen_llm.fusion.relative.selection import AnchorOptions
from deepen_llm.fusion.tunable import Choice, Number, Sweep, Tunable

_CPU_STEP_BYTES = 64 * 2**20  # of the rows of one portion, in each space, on a CPU
_STEP_BYTES = 2**30  # the same on an accelerator


_SPACES: dict[str, dict[str, Any]] = {
    "paper": {"center": False, "normalize_rows": True, "temperature": 100.0, "self_mass": None},
    "calibrated": {"center": True, "normalize_rows": False, "temperature": None},
}


class RelativeMethod(SpaceOptions, RowOptions, AnchorOptions, FusionMethod):
    """The options of the relative space, and of the anchors that members share; the defaults are the paper's.

    Attributes:
        anchors: ``joint`` (tokens that all members have) or ``pairwise`` (tokens that a member shares with the main
            model).
        memory_budget: Bytes that all dense ``[V, A]`` matrices together may take, as a number or like ``"2GB"``. Where
            they would take more, none is built, and on a CPU rows of frequent tokens are kept within these bytes.
        min_anchors: The fewest anchors that members must share, before any are selected.
    """

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.EMBEDDING, Needs.FULL_LOGITS})
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Choice("space", _SPACES, label="space"),
        Number(
            "self_mass", 0.5, 0.99, digits=3, only=("space", ("calibrated",)), label="mean self-mass of anchors",
            sweep=Sweep((0.5, 0.7, 0.8, 0.9, 0.95, 0.99)),
        ),
        Choice.of("anchors", "joint", "pairwise", label="anchors"),
        Choice.of(
            "anchor_choice", "all", "random", "consistent", "spread", usual=("all", "consistent", "spread"),
            label="choice of anchors",
        ),
        Number(
            "anchor_count", 128, 4096, log=True, only=("anchor_choice", ("random", "consistent", "spread")),
            label="anchors, drawn at random",
            sweep=Sweep((64, 128, 256, 512, 1024, 2048, 4096), beside={"anchor_choice": "random"}, tokens=True),
        ),
    )  # fmt: skip
    untuned: ClassVar[frozenset[str]] = frozenset({*RowOptions.model_fields, "memory_budget", "min_anchors"})
    anchors: Literal["joint", "pairwise"] = "joint"
    memory_budget: ByteSize = ByteSize(128 * 2**20)
    min_anchors: int = Field(32, ge=1)

    def _spaces(self, members: Sequence[Fusible], groups: Sequence[Sequence[int]], main: int) -> list[AnchorGroup]:
        bounds = {"min_anchors": self.min_anchors, "memory_budget": self.memory_budget}
        return anchor_groups(members, groups, self, self, main=main, **bounds)

    def portion(self, groups: Sequence[AnchorGroup]) -> int | None:
        """How many sequences of a batch to fuse at a time, so that memory does not grow with it; None for all."""
        sparse = [space for group in groups for space in group.values() if not space.dense]
        if not sparse:
            return None
        budget = _STEP_BYTES if all(needs_fixed_shapes(space.device) for space in sparse) else _CPU_STEP_BYTES
        return max(1, budget // (4 * self.max_rows * max(len(space.anchors) for space in sparse)))
