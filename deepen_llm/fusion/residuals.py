"""The main tokens that the rest of a straddling token may begin.

With b the last bytes of the text, u a member's token that begins with them, and r its bytes behind them,

    G(b, u) = {first_main(r)} and {v : s(v) = r·x, x not empty, first_member(b·s(v)) = u}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
        rests, width = Rests(), prior.shape[1]
        for place, one in enumerate(found):
            for straddler in one.straddlers:
                self._add(rests, place, straddler, prior[place], place * width)
        return rests

    def _add(self, rests: Rests, place: int, straddler: Straddler, prior: Tensor, start: int) -> None:
        rest = (self._tokens.surfaces[straddler.token] or b"")[len(straddler.behind) :]
        (first,) = self._main.firsts([rest])
        longer = [id_ for id_ in self._longer(rest, straddler, prior) if id_ != first]
        number = len(rests.shares)
        rests.places.append(place)
        rests.shares.append(straddler.share)
        for id_ in ([first] if first >= 0 else []) + longer:
            rests.groups.append(number)
            rests.targets.append(start + id_)
            rests.spelled.append(float(id_ == first))

    def _longer(self, rest: bytes, straddler: Straddler, prior: Tensor) -> list[int]:
        """The likely main tokens that go on behind a rest, where the member would still begin with its token."""
        ids = self._main.order[self._main.beyond(rest)]
        ids = ids[(prior[ids.to(prior.device)] >= _LIKELY).cpu()]
        if not len(ids):
            return []
        texts = [straddler.behind + (self._main.surfaces[id_] or b"") for id_ in ids.tolist()]
        firsts = self._tokens.firsts(texts)
        return [id_ for id_, first in zip(ids.tolist(), firsts, strict=True) if first == straddler.token]
