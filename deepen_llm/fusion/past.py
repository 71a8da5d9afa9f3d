"""What was read before a place: fusion by surfaces reads the members there, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor
from typing_extensions import Self

from deepen_llm.fusion.surfaces.expected import Expected


@dataclass(frozen=True)
class Trail:
    """The last tokens that a member read before a place, the newest first.

    Attributes:
        tokens: Their ids, as many as were asked for and spell the end of the text.
        logits: The member's logits before each of them, ``[K, V_i]``.
        norms: The logarithm of the sum of their exponentials, ``[K]``.
        dropped: Bytes of the text behind them that the member's tokenizer drops, as WordPiece does white space.
    """

    tokens: Sequence[int]
    logits: Sequence[Tensor]
    norms: Sequence[Tensor]
    dropped: bytes = b""

    @classmethod
    def of(cls, tokens: Sequence[int] = (), logits: Sequence[Tensor] = ()) -> Self:
        """A trail whose norms are computed here."""
        return cls(tokens, logits, [one.logsumexp(-1) for one in logits])


@dataclass(frozen=True)
class Past:
    """What came before P places.

    Attributes:
        trails: For each member, its trail at each place; empty for a member of which none was asked.
        unfinished: At each place, the bytes of a character that the text ends inside of; the other members have yet to
            hear them.
        evidence: What each member expects at each place, by member, once fusion by surfaces has read it.
    """

    trails: Sequence[Sequence[Trail]]
    unfinished: Sequence[bytes]
    evidence: dict[int, Expected] = field(default_factory=dict)

    def part(self, places: slice) -> Past:
        """The same for some of the places."""
        return self.at(range(len(self.unfinished))[places])

    def at(self, places: Sequence[int]) -> Past:
        """The same for these places, in this order."""
        evidence = {member: found.at(places) for member, found in self.evidence.items()}
        trails = [[told[place] for place in places] if told else [] for told in self.trails]
        return Past(trails, [self.unfinished[place] for place in places], evidence)
