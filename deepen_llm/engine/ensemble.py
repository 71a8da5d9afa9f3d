"""What decodes as one: the members, how they are fused, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from deepen_llm.engine.healing import Healer
from deepen_llm.fusion import AggregationWeights, Fusion
from deepen_llm.fusion.gate import Gate
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.members.base import Member


@dataclass(frozen=True)
class Ensemble:
    """Members that decode as one.

    Attributes:
        members: The members.
        main: Index of the main model.
        fusion: How their distributions become one.
        weights: How much each counts.
        eos_policy: Who ends a text, ``fused`` or ``main``.
        draft_tokens: The most tokens that are drafted ahead; 0 for none.
        draft_model: Who drafts, a member of the main model's vocabulary that has no say; None for the main model.
        gate: Where they are fused.
    """

    members: Sequence[Member]
    main: int
    fusion: Fusion
    weights: AggregationWeights
    eos_policy: str
    draft_tokens: int = 0
    draft_model: Member | None = None
    gate: Gate = field(default_factory=Gate)

    @property
    def main_model(self) -> Member:
        """The member whose vocabulary tokens are chosen from."""
        return self.members[self.main]

    @cached_property
    def healer(self) -> Healer:
        """Heals what members say behind prompts that end inside a token."""
        return Healer(self.members)

    @cached_property
    def main_tokens(self) -> Tokens:
        """The main model's tokens by how they begin."""
        return Tokens(self.main_model)

    def scoring(self) -> Ensemble:
        """The same for given texts, without sharpening: a token that others took over would be impossible."""
        gate = self.gate.model_copy(update={"sharpen": False})
        return replace(self, gate=gate) if self.gate.sharpen else self


class Step(NamedTuple):
    """One step of a row: a main-model token, and the characters that it completes, for other vocabularies to hear."""

    token: int
    piece: str
