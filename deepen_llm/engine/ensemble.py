"""An ensemble: its members, its fusion method, its aggregation weights and its gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from deepen_llm.engine.healing import Healer
from deepen_llm.fusion import AggregationWeights, Fusion
from deepen_llm.fusion.gate import Gate
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.members.base import Member
from deepen_llm.structure import TokenBudget
from deepen_llm.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ensemble:
    """Members that decode as one.

    Attributes:
        members: The members.
        main: Index of the main model.
        fusion: The fusion method, bound to the members.
        weights: The aggregation weights.
        eos_policy: Which distribution may choose the end-of-text token: ``fused``, or the ``main`` model's alone.
        draft_tokens: The most tokens that are drafted ahead; 0 for none.
        draft_model: A member of the main model's vocabulary that drafts and is not fused; None for the main model.
        gate: The boundaries at which the members are fused.
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
        """The main model."""
        return self.members[self.main]

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that tokens are chosen from: the fusion method's, by default the main model's."""
        return self.fusion.vocabulary

    @cached_property
    def healer(self) -> Healer:
        """Corrects what members predict after prompts that end inside a token."""
        return Healer(self.members)

    @cached_property
    def main_tokens(self) -> Tokens:
        """The main model's tokens, sorted by their surfaces."""
        return Tokens(self.main_model)

    def tokens_left(self, lengths: Sequence[int]) -> TokenBudget:
        """How many tokens fit into the members' context windows after a text.

        Args:
            lengths: For each member, how many of its tokens the text has.
        """
        left = [
            (member.context_length or sys.maxsize) - length
            for member, length in zip(self.members, lengths, strict=True)
        ]
        main = left.pop(self.main)
        return TokenBudget(main, min(left, default=sys.maxsize))
