"""An ensemble: its members, its fusion method, its aggregation weights and its gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from deepen_llm.engine.healing import Healer
from deepen_llm.engine.own_vocabulary import check_own_vocabulary, readers, tokens_of
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
        on_member_failure: What happens where a member fails: ``raise``, or ``degrade`` to go on without it.
    """

    members: Sequence[Member]
    main: int
    fusion: Fusion
    weights: AggregationWeights
    eos_policy: str
    draft_tokens: int = 0
    draft_model: Member | None = None
    gate: Gate = field(default_factory=Gate)
    on_member_failure: str = "raise"

    def __post_init__(self) -> None:
        """Check that tokens can be chosen from the fusion method's vocabulary.

        Raises:
            ConfigError: See `check_own_vocabulary`.
        """
        check_own_vocabulary(self.fusion, self.members, self.gate, self.draft_tokens)

    @property
    def main_model(self) -> Member:
        """The main model."""
        return self.members[self.main]

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that tokens are chosen from: the fusion method's, by default the main model's."""
        return self.fusion.vocabulary

    @cached_property
    def takes_tokens(self) -> Sequence[bool]:
        """Which members read the chosen tokens as they are; the others read their text."""
        return readers(self.vocabulary, self.members)

    @cached_property
    def healer(self) -> Healer:
        """Corrects what members predict after prompts that end inside a token."""
        return Healer(self.members)

    @cached_property
    def main_tokens(self) -> Tokens:
        """The main model's tokens, sorted by their surfaces."""
        return Tokens(self.main_model)

    def goes_on_without(self, member: int) -> bool:
        """Whether a member, by its index, is left out where it fails; never the main model."""
        return self.on_member_failure == "degrade" and member != self.main

    def tokens_in(self, encoded: Sequence[Sequence[int]], *, skip_unknown: bool = False) -> list[int]:
        """A text in the tokens of `vocabulary`, from its token ids in each member.

        They are those of the main model, or of another member that has this vocabulary; where there is none, the
        longest token that fits at each place.

        Args:
            encoded: For each member, the token ids of the text.
            skip_unknown: Leave out bytes that no token begins with.

        Raises:
            PromptError: See `tokens_of`.
        """
        if not self.fusion.has_own_vocabulary:
            return list(encoded[self.main])
        if any(self.takes_tokens):
            return list(encoded[self.takes_tokens.index(True)])
        surfaces = self.main_model.vocabulary.surfaces
        text = b"".join(surfaces[id_] or b"" for id_ in encoded[self.main])
        return tokens_of(self.vocabulary, text, skip_unknown=skip_unknown)

    def tokens_left(self, lengths: Sequence[int]) -> TokenBudget:
        """How many tokens fit into the members' context windows after a text.

        Args:
            lengths: For each member, how many of its tokens the text has.
        """
        left = [
            (member.context_length or sys.maxsize) - length
            for member, length in zip(self.members, lengths, strict=True)
        ]
        if self.fusion.has_own_vocabulary:  # no member reads one token for each that is chosen
            return TokenBudget(sys.maxsize, min(left))
        main = left.pop(self.main)
        return TokenBudget(main, min(left, default=sys.maxsize))
