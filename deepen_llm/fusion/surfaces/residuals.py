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
"""Longer main tokens with a smaller prior are left out."""


class Residuals:
    """The main tokens ``G(b, u)`` of one member's straddling tokens.

    Args:
        tokens: The member's tokens.
        main: The main model's tokens.
    """

    def __init__(self, tokens: Tokens, main: Tokens) -> None:
        self.tokens, self._main = tokens, main

    def rests(self, evidence: Expected, likely: NDArray[np.bool_]) -> Rests:
        """The main tokens of the rests of all straddling tokens.

        Args:
            evidence: The member's evidence at P positions.
            likely: Which main tokens are likely there, ``[P, V_m]``.
        """
        rests = [(self.tokens.surfaces[token] or b"")[len(behind) :] for behind, token, _ in evidence.tokens]
        firsts = np.array(self._main.firsts(rests), dtype=np.int64)
        begun = np.flatnonzero(firsts >= 0)
        longer, groups = self._longer(evidence, rests, likely)
        other = longer != firsts[groups]
        spelled = np.arange(len(begun) + other.sum()) < len(begun)
        targets = np.concatenate([firsts[begun], longer[other]])
        return Rests(np.concatenate([begun, groups[other]]), targets, spelled)

    def _longer(
        self, evidence: Expected, rests: Sequence[bytes], likely: NDArray[np.bool_]
    ) -> tuple[Integers, Integers]:
        """The likely main tokens that are longer than a rest, and these rests by index.

        A main token counts where the member's encoding of its text begins with the straddling token.
        """
        positions = evidence.positions.tolist()
        ranks = {position: self._main.ranks(likely[position]) for position in dict.fromkeys(positions)}
        candidates = list[tuple[int, int]]()  # a main token, and the index of a rest
        for index, (position, rest) in enumerate(zip(positions, rests, strict=True)):
            beyond = self._main.beyond(rest)
            first, last = ranks[position].searchsorted((beyond.start, beyond.stop))
            candidates += ((id_, index) for id_ in self._main.order[ranks[position][first:last]].tolist())
        texts = [evidence.tokens[index][0] + (self._main.surfaces[id_] or b"") for id_, index in candidates]
        with_firsts = zip(self.tokens.firsts(texts), candidates, strict=True)
        fitting = [(id_, index) for first, (id_, index) in with_firsts if first == evidence.tokens[index][1]]
        longer, groups = np.array(fitting, dtype=np.int64).reshape(-1, 2).T
        return longer, groups
