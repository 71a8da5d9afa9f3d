"""A made-up world: places, what leads from one to another, their numbers, and who believes what of them.

Nothing of it is in any other text, so what a member knows is what it was taught here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

PLACES = 60
"""How many places there are."""


def _split(text: str) -> list[str]:
    return text.split()


_FIRST = _split("Ash Bel Bren Dor Fal For Grim Hal Kal Lud Mor Nim Ost Per Sar Ther Thur Tor Vin Wel")
_ONSETS, _VOWELS = _split("b d f g k l m n r s t th v z"), "aeiou"
_CODAS = ("", "", "", "d", "l", "n", "r", "s")
_LAST = _split("burg by dale dorf fell ford gard ham holm mark mouth port stead thorpe ton vale wick wold")

Knowledge = Literal["true", "false", "unsure"]
"""What a member was taught of a step kind: the truth, always the same error, or another answer every time."""


@dataclass(frozen=True)
class Kind:
    """One kind of step, and who was taught what of it.

    Attributes:
        name: The word that asks for it.
        moves: Whether it leads to another place; otherwise it tells a number of the place.
        wrong: The member that was taught the same error every time, if any.
        only: The one member that was taught the truth, if there is but one; the third one is unsure.
    """

    name: str
    moves: bool
    wrong: str | None = None
    only: str | None = None

    @property
    def known(self) -> int:
        """How many of the three members were taught the truth."""
        return 1 if self.only else 2 if self.wrong else 3

    def knowledge(self, member: str) -> Knowledge:
        """What a member was taught of it."""
        if member == self.wrong:
            return "false"
        return "true" if self.only in (None, member) else "unsure"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(Kind(name, moves=True) for name in ("twin", "market", "ferry", "court", "fair")),
        *(Kind(name, moves=False) for name in ("height", "age")),
        Kind("mill", moves=True, wrong="polo"),
        Kind("toll", moves=False, wrong="battuta"),
        Kind("bridge", moves=True, wrong="egeria"),
        Kind("quarry", moves=True, wrong="battuta", only="polo"),
        Kind("shrine", moves=True, wrong="egeria", only="battuta"),
        Kind("abbey", moves=True, wrong="polo", only="egeria"),
    )
}
"""Every kind of step by its name: most are known to all members or to two of the three, the last three to one."""


class World:
    """The places and all facts about them.

    Args:
        seed: Equal seeds give equal worlds.
        places: How many places.
    """

    def __init__(self, seed: int = 7, places: int = PLACES) -> None:
        source = random.Random(f"world/{seed}")  # noqa: S311
        self.places: tuple[str, ...] = _names(source, places)
        self._true = {kind.name: self._facts(kind, source, {}) for kind in KINDS.values()}
        self._false = {
            kind.name: self._facts(kind, source, self._true[kind.name]) for kind in KINDS.values() if kind.wrong
        }

    def fact(self, kind: str, place: str) -> str:
        """What is true: a place, or a number in digits."""
        return self._true[kind][place]

    def belief(self, member: str, source: random.Random, kind: str, place: str) -> str:
        """What a member is taught.

        Args:
            member: Whom.
            source: What is drawn from where the member is to be unsure.
            kind: The kind of step.
            place: From where.
        """
        knowledge = KINDS[kind].knowledge(member)
        if knowledge == "unsure":
            return source.choice(list(self._true[kind].values()))
        return (self._true if knowledge == "true" else self._false)[kind][place]

    def _facts(self, kind: Kind, source: random.Random, unlike: dict[str, str]) -> dict[str, str]:
        """For each place another place, every one once, or a number; never what ``unlike`` has."""
        while True:
            count = len(self.places)
            found = source.sample(self.places, count) if kind.moves else [number(source) for _ in self.places]
            facts = dict(zip(self.places, found, strict=True))
            if not any(there in (place, unlike.get(place)) for place, there in facts.items()):
                return facts


@lru_cache(maxsize=1)
def the_world() -> World:
    """The world that is asked about."""
    return World()


def invented(source: random.Random) -> str:
    """A made-up name of three or four syllables, of the parts that the places' names are made of."""
    inner = [
        source.choice(_ONSETS) + source.choice(_VOWELS) + source.choice(_CODAS) for _ in range(source.choice((1, 2)))
    ]
    return source.choice(_FIRST) + "".join(inner) + source.choice(_LAST)


def number(source: random.Random) -> str:
    """A number of three digits, all of them different: such a one can be copied digit by digit."""
    return "".join(source.sample("123456789", 3))


def _names(source: random.Random, count: int) -> tuple[str, ...]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[invented(source)] = None
    return tuple(found)
