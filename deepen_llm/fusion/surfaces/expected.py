"""What a member expects next, as evidence about its tokens; `straddling` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Straddler:
    """A token that reaches over the end of the text.

    Attributes:
        behind: The last bytes of the text, which it begins with.
        token: The token.
        share: Its share of the evidence.
        back: How many tokens before the end of the text it begins.
    """

    behind: bytes
    token: int
    share: float
    back: int


@dataclass(frozen=True)
class Evidence:
    """What a member expects at one place; the shares of all of it sum to 1 with what it abstains from.

    Attributes:
        here: The share of the distribution over tokens that begin here.
        straddlers: Tokens that began before.
        abstained: The share of what cannot be known.
    """

    here: float
    straddlers: Sequence[Straddler] = ()
    abstained: float = 0.0


@dataclass(frozen=True)
class Rests:
    """The main tokens that the rests of straddling tokens may begin, as R edges.

    Attributes:
        groups: For each edge, which of the straddling tokens.
        targets: Its main token.
        spelled: Whether the main token begins the rest itself.
    """

    groups: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    targets: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    spelled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def of(self, kept: Integers, count: int) -> Rests:
        """Those of some of the straddling tokens, of which there are so many."""
        number = np.full(count, -1)
        number[kept] = np.arange(len(kept))
        groups = number[self.groups]
        return Rests(groups[groups >= 0], self.targets[groups >= 0], self.spelled[groups >= 0])


@dataclass(frozen=True, eq=False)
class Expected(Sequence[Evidence]):
    """The evidence at P places, with S straddling tokens in all.

    Attributes:
        here: See `Evidence`, ``[P]``.
        abstained: Likewise, ``[P]``.
        places: Where each straddling token is, in rising order, ``[S]``.
        shares: See `Straddler`, ``[S]``.
        told: What else there is to tell of each: ``behind``, ``token`` and ``back``.
        rests: Their main tokens, once these were looked up.
    """

    here: Floats
    abstained: Floats
    places: Integers
    shares: Floats
    told: Sequence[tuple[bytes, int, int]]
    rests: Rests = field(default_factory=Rests)

    def __len__(self) -> int:
        """How many places there are."""
        return len(self.here)

    @overload
    def __getitem__(self, place: int) -> Evidence: ...
    @overload
    def __getitem__(self, place: slice) -> list[Evidence]: ...
    def __getitem__(self, place: int | slice) -> Evidence | list[Evidence]:
        """The evidence at a place, or at several."""
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        here = slice(*self.places.searchsorted((place, place + 1)).tolist())
        found = zip(self.told[here], self.shares[here].tolist(), strict=True)
        straddlers = tuple(Straddler(behind, token, share, back) for (behind, token, back), share in found)
        return Evidence(float(self.here[place]), straddlers, float(self.abstained[place]))

    def at(self, places: Sequence[int]) -> Expected:
        """The same for these places, in this order."""
        wanted = np.asarray(places, dtype=np.int64)
        firsts, lasts = (self.places.searchsorted(one) for one in (wanted, wanted + 1))
        kept = np.concatenate([np.arange(*one) for one in zip(firsts, lasts, strict=True)], dtype=np.int64)
        told, rests = [self.told[one] for one in kept.tolist()], self.rests.of(kept, len(self.places))
        numbers = np.repeat(np.arange(len(wanted)), lasts - firsts)
        return Expected(self.here[wanted], self.abstained[wanted], numbers, self.shares[kept], told, rests)

    def heard(self) -> Floats:
        """All shares at each place, ``[P]``."""
        straddling: Floats = np.bincount(self.places, self.shares, len(self)).astype(np.float64)
        return self.here + straddling

    def lost(self) -> Floats:
        """The shares of rests without main tokens, ``[P]``."""
        without = np.bincount(self.rests.groups, minlength=len(self.places)) == 0
        return np.bincount(self.places[without], self.shares[without], len(self)).astype(np.float64)
