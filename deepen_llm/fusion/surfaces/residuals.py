"""The main tokens that the rest of a straddling token may begin.

With b the last bytes of the text, u a member's token that begins with them, and r its bytes behind them,

    G(b, u) = {first_main(r)} and {v : s(v) = r·x, x not empty, first_member(b·s(v)) = u}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.fusion.surfaces.expected import Expected, Integers, Rests

LIKELY = 1e-5
"""Longer main tokens whose prior is less are not asked for."""


class Residuals:
    """Finds them for one member.

    Args:
        tokens: The member's tokens.
        main: The main model's.
    """

    def __init__(self, tokens: Tokens, main: Tokens) -> None:
        self.tokens, self._main = tokens, main

    def rests(self, found: Expected, likely: NDArray[np.bool_]) -> Rests:
        """The main tokens of the rests of all straddling tokens.

        Args:
            found: What the member expects at P places.
            likely: Which main tokens are likely there, ``[P, V_m]``.
        """
        rests = [(self.tokens.surfaces[token] or b"")[len(behind) :] for behind, token, _ in found.told]
        firsts = np.array(self._main.firsts(rests), dtype=np.int64)
        begun = np.flatnonzero(firsts >= 0)
        longer, groups = self._longer(found, rests, likely)
        other = longer != firsts[groups]
        spelled = np.arange(len(begun) + other.sum()) < len(begun)
        targets = np.concatenate([firsts[begun], longer[other]])
        return Rests(np.concatenate([begun, groups[other]]), targets, spelled)

    def _longer(self, found: Expected, rests: Sequence[bytes], likely: NDArray[np.bool_]) -> tuple[Integers, Integers]:
        """The likely main tokens that go on behind a rest, where the member would begin as it did; and these rests."""
        ranks = {place: self._main.ranks(likely[place]) for place in dict.fromkeys(found.places.tolist())}
        asked = list[tuple[int, int]]()  # a main token, and a rest
        for number, (place, rest) in enumerate(zip(found.places.tolist(), rests, strict=True)):
            beyond = self._main.beyond(rest)
            first, last = ranks[place].searchsorted((beyond.start, beyond.stop))
            asked += ((id_, number) for id_ in self._main.order[ranks[place][first:last]].tolist())
        texts = [found.told[number][0] + (self._main.surfaces[id_] or b"") for id_, number in asked]
        begun = zip(self.tokens.firsts(texts), asked, strict=True)
        fitting = [one for token, one in begun if token == found.told[one[1]][1]]
        longer, groups = np.array(fitting, dtype=np.int64).reshape(-1, 2).T
        return longer, groups
