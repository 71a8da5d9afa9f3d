"""The tokens and logits that members read before a position, which fusion by surfaces uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor
from typing_extensions import Self

from deepen_llm.fusion.surfaces.expected import Expected


@dataclass(frozen=True)
class Trail:
    """The last tokens that a member read before a position, the newest first.

    Attributes:
        tokens: Their ids: at most as many as requested, and only those that spell the end of the text.
        logits: The member's logits before each of them, ``[K, V_i]``.
        norms: The logarithm of the sum of their exponentials, ``[K]``.
        dropped: Bytes of the text after them that the member's tokenizer drops, as WordPiece drops white space.
    """

    tokens: Sequence[int]
    logits: Sequence[Tensor]
    norms: Sequence[Tensor]
    dropped: bytes = b""

    @classmethod
    def of(cls, tokens: Sequence[int] = (), logits: Sequence[Tensor] = ()) -> Self:
        """A trail whose norms are computed here."""
        return cls(tokens, logits, [before_token.logsumexp(-1) for before_token in logits])


@dataclass(frozen=True)
class Past:
    """What members read before P positions.

    Attributes:
        trails: For each member, its trail at each position; empty for a member of which no trail was requested.
        unfinished: At each position, the bytes of an incomplete character at the end of the text, which members that
            read text have not read yet.
        evidence: Each member's evidence at each position, by member index, once fusion by surfaces has computed it.
    """

    trails: Sequence[Sequence[Trail]]
    unfinished: Sequence[bytes]
    evidence: dict[int, Expected] = field(default_factory=dict)

    def part(self, positions: slice) -> Past:
        """The same for a range of positions."""
        return self.at(range(len(self.unfinished))[positions])

    def at(self, positions: Sequence[int]) -> Past:
        """The same for these positions, in this order."""
        evidence = {member: expected.at(positions) for member, expected in self.evidence.items()}
        trails = [[of_member[position] for position in positions] if of_member else [] for of_member in self.trails]
        return Past(trails, [self.unfinished[position] for position in positions], evidence)
