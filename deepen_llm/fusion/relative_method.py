"""What every method that goes through a relative space can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ByteSize, Field, model_validator
from typing_extensions import Self

from deepen_llm.fusion.anchoring import AnchorGroup, anchor_groups
from deepen_llm.fusion.base import Fusible, FusionMethod
from deepen_llm.fusion.relative import SpaceOptions


class RelativeMethod(FusionMethod):
    """Settings of the relative space; the defaults are the paper's.

    Attributes:
        center: Subtract each member's mean embedding before the cosine.
        normalize_rows: L2-normalise each row of cosines before the softmax.
        temperature: The factor on the cosines before the softmax; None when ``self_mass`` sets it.
        self_mass: The mean mass that anchors' rows put on themselves, between 0 and 1; every member's temperature
            is found by bisection. None when ``temperature`` sets it.
        anchors: ``joint`` (tokens that all members have) or ``pairwise`` (tokens that a member shares with the main
            model).
        max_rows: Where a dense matrix exceeds the budget: the likeliest tokens of each member that get rows of their
            own (K); the others share the mean row.
        memory_budget: Bytes that dense ``[V, A]`` matrices may take together, as a number or like ``"2GB"``.
        min_anchors: The fewest anchors with which members are accepted.
    """

    center: bool = False
    normalize_rows: bool = True
    temperature: float | None = Field(100.0, gt=0)
    self_mass: float | None = Field(None, gt=0, lt=1)
    anchors: Literal["joint", "pairwise"] = "joint"
    max_rows: int = Field(1024, ge=1)
    memory_budget: ByteSize = ByteSize(256 * 2**20)
    min_anchors: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if (self.temperature is None) == (self.self_mass is None):
            raise ValueError("set exactly one of temperature and self_mass, and the other one to None")
        return self

    def _spaces(self, members: Sequence[Fusible], groups: Sequence[Sequence[int]]) -> list[AnchorGroup]:
        options = SpaceOptions(self.center, self.normalize_rows, self.temperature, self.self_mass)
        return anchor_groups(members, groups, options, min_anchors=self.min_anchors, memory_budget=self.memory_budget)
