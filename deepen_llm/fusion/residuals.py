"""The main tokens that the rest of a straddling token may begin.

With b the last bytes of the text, u a member's token that begins with them, and r its bytes behind them,

    G(b, u) = {first_main(r)} and {v : s(v) = r·x, x not empty, first_member(b·s(v)) = u}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from deepen_llm.fusion.correspondence import Tokens
from deepen_llm.fusion.straddling import Evidence, Straddler

_LIKELY = 1e-5  # longer main tokens whose prior is less are not asked for


@dataclass
class Rests:
    """The rests of straddling tokens at P places, as `_Brought` has groups of edges.

    Attributes:
        places: The place of each rest.
        shares: Its share of the evidence.
        groups: For each edge, its rest.
        targets: For each edge, its main token at its place in ``[P · V_m]``.
        spelled: For each edge, 1 where the main token begins the rest itself.
    """

    places: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    spelled: list[float] = field(default_factory=list)


class Residuals:
    """Finds them for one member.

    Args:
        tokens: The member's tokens.
        main: The main model's.
    """

    def __init__(self, tokens: Tokens, main: Tokens) -> None:
        self._tokens, self._main = tokens, main

    def edges(self, found: Sequence[Evidence], prior: Tensor) -> Rests:
        """The rests of all straddling tokens.

        Args:
            found: The member's evidence at each place.
            prior: The main model's distribution, ``[P, V_m]``.
        """
        told = [(place, one) for place, evidence in enumerate(found) for one in evidence.straddlers]
        if not told:
            return Rests()
        rests = [(self._tokens.surfaces[one.token] or b"")[len(one.behind) :] for _, one in told]
        firsts, longer = self._main.firsts(rests), self._longer(told, rests, prior)
        made = Rests([place for place, _ in told], [one.share for _, one in told])
        for number, ((place, _), first, others) in enumerate(zip(told, firsts, longer, strict=True)):
            for id_ in ([first] if first >= 0 else []) + [id_ for id_ in others if id_ != first]:
                made.groups.append(number)
                made.targets.append(place * prior.shape[1] + id_)
                made.spelled.append(float(id_ == first))
        return made

    def _longer(self, told: Sequence[tuple[int, Straddler]], rests: Sequence[bytes], prior: Tensor) -> list[list[int]]:
        """For each rest the likely main tokens that go on behind it, where the member would begin as it did."""
        likely = {place: self._likely(prior[place]) for place in dict.fromkeys(place for place, _ in told)}
        asked = list[tuple[int, int, bytes]]()  # the rest's number, a main token, and what the member would begin
        for number, ((place, one), rest) in enumerate(zip(told, rests, strict=True)):
            beyond = self._main.beyond(rest)
            first, last = np.searchsorted(likely[place], (beyond.start, beyond.stop))
            for id_ in self._main.order[likely[place][first:last]].tolist():
                asked.append((number, id_, one.behind + (self._main.surfaces[id_] or b"")))
        found: list[list[int]] = [[] for _ in told]
        begun = self._tokens.firsts([text for *_, text in asked])
        for (number, id_, _), token in zip(asked, begun, strict=True):
            if token == told[number][1].token:
                found[number].append(id_)
        return found

    def _likely(self, prior: Tensor) -> np.ndarray:
        return np.flatnonzero((prior[self._main.order.to(prior.device)] >= _LIKELY).cpu().numpy())
