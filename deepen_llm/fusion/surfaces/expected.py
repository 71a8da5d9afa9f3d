"""A member's evidence about its next tokens, which `straddling` computes."""

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
    """A token that begins before the end of the text and ends after it.

    Attributes:
        behind: The last bytes of the text, with which the token begins.
        token: The token.
        share: Its share of the evidence.
        back: At how many tokens before the end of the text it begins.
    """

    behind: bytes
    token: int
    share: float
    back: int


@dataclass(frozen=True)
class Evidence:
    """A member's evidence at one position; all shares and the abstained one sum to 1.

    Attributes:
        here: The share of the distribution over tokens that begin here.
        straddlers: Tokens that began before.
        abstained: The share from which the member abstains, as no forward has read it.
    """

    here: float
    straddlers: Sequence[Straddler] = ()
    abstained: float = 0.0


@dataclass(frozen=True)
class Rests:
    """The main tokens that the rests of straddling tokens may begin, as R edges.

    Attributes:
        groups: The straddling token of each edge, by its index.
        targets: The main token of each edge.
        spelled: Whether the main token is the first token of the rest.
    """

    groups: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    targets: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    spelled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def of(self, kept: Integers, count: int) -> Rests:
        """The edges of some straddling tokens, by their indices ``kept`` among ``count``."""
        number = np.full(count, -1)
        number[kept] = np.arange(len(kept))
        groups = number[self.groups]
        return Rests(groups[groups >= 0], self.targets[groups >= 0], self.spelled[groups >= 0])


@dataclass(frozen=True, eq=False)
class Expected(Sequence[Evidence]):
    """The evidence at P positions, with S straddling tokens in all.

    Attributes:
        here: See `Evidence`, ``[P]``.
        abstained: See `Evidence`, ``[P]``.
        positions: The position of each straddling token, in rising order, ``[S]``.
        shares: See `Straddler`, ``[S]``.
        tokens: ``behind``, ``token`` and ``back`` of each straddling token.
        rests: Their main tokens, once these are computed.
    """

    here: Floats
    abstained: Floats
    positions: Integers
    shares: Floats
    tokens: Sequence[tuple[bytes, int, int]]
    rests: Rests = field(default_factory=Rests)

    def __len__(self) -> int:
        """The number of positions."""
        return len(self.here)

    @overload
    def __getitem__(self, position: int) -> Evidence: ...
    @overload
    def __getitem__(self, position: slice) -> list[Evidence]: ...
    def __getitem__(self, position: int | slice) -> Evidence | list[Evidence]:
        """The evidence at a position, or at several."""
        if isinstance(position, slice):
            return [self[index] for index in range(len(self))[position]]
        position = range(len(self))[position]
        here = slice(*self.positions.searchsorted((position, position + 1)).tolist())
        pairs = zip(self.tokens[here], self.shares[here].tolist(), strict=True)
        straddlers = tuple(Straddler(behind, token, share, back) for (behind, token, back), share in pairs)
        return Evidence(float(self.here[position]), straddlers, float(self.abstained[position]))

    def at(self, positions: Sequence[int]) -> Expected:
        """The same for these positions, in this order."""
        wanted = np.asarray(positions, dtype=np.int64)
        firsts, lasts = self.positions.searchsorted(wanted), self.positions.searchsorted(wanted + 1)
        ranges = [np.arange(first, last) for first, last in zip(firsts, lasts, strict=True)]
        kept = np.concatenate(ranges, dtype=np.int64)
        return Expected(
            here=self.here[wanted],
            abstained=self.abstained[wanted],
            positions=np.repeat(np.arange(len(wanted)), lasts - firsts),
            shares=self.shares[kept],
            tokens=[self.tokens[index] for index in kept.tolist()],
            rests=self.rests.of(kept, len(self.positions)),
        )

    def known(self) -> Floats:
        """The sum of all shares at each position, ``[P]``: 1 less what is abstained from."""
        straddling: Floats = np.bincount(self.positions, self.shares, len(self)).astype(np.float64)
        return self.here + straddling

    def lost(self) -> Floats:
        """The shares of rests without main tokens, ``[P]``."""
        without = np.bincount(self.rests.groups, minlength=len(self.positions)) == 0
        return np.bincount(self.positions[without], self.shares[without], len(self)).astype(np.float64)
