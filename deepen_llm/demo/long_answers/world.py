"""An invented world: places, links between them, their numbers, and the knowledge of each member.

No other text contains its facts, so members know only what they were trained on here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

PLACES = 60
"""The number of places."""


def _split(text: str) -> list[str]:
    return text.split()


_FIRST = _split("Ash Bel Bren Dor Fal For Grim Hal Kal Lud Mor Nim Ost Per Sar Ther Thur Tor Vin Wel")
_ONSETS, _VOWELS = _split("b d f g k l m n r s t th v z"), "aeiou"
_CODAS = ("", "", "", "d", "l", "n", "r", "s")
_LAST = _split("burg by dale dorf fell ford gard ham holm mark mouth port stead thorpe ton vale wick wold")

Knowledge = Literal["true", "false", "unsure"]
"""A member's knowledge of a kind of step: trained on the facts, on fixed errors, or on random answers."""


@dataclass(frozen=True)
class Kind:
    """One kind of step, and the knowledge of each member.

    Attributes:
        name: The word for it in questions.
        moves: Whether its result is another place; otherwise a number.
        wrong: The member that was trained on fixed errors, if any.
        only: The only member that was trained on the facts, if there is only one; the third one is unsure.
    """

    name: str
    moves: bool
    wrong: str | None = None
    only: str | None = None

    @property
    def known(self) -> int:
        """The number of members that were trained on the facts."""
        return 1 if self.only else 2 if self.wrong else 3

    def knowledge(self, member: str) -> Knowledge:
        """A member's knowledge of it."""
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
"""Every kind of step by its name: most are known to all members or to two, the last three to one."""


class World:
    """The places and all facts about them.

    Args:
        seed: Equal seeds give equal worlds.
        places: The number of places.
    """

    def __init__(self, seed: int = 7, places: int = PLACES) -> None:
        source = random.Random(f"world/{seed}")  # noqa: S311
        self.places: tuple[str, ...] = _names(source, places)
        self._true = {kind.name: self._facts(kind, source, {}) for kind in KINDS.values()}
        self._false = {
            kind.name: self._facts(kind, source, self._true[kind.name]) for kind in KINDS.values() if kind.wrong
        }

    def fact(self, kind: str, place: str) -> str:
        """The true result of a step: a place, or a number in digits."""
        return self._true[kind][place]

    def belief(self, member: str, source: random.Random, kind: str, place: str) -> str:
        """The result of a step that a member is trained on.

        Args:
            member: The member's name.
            source: The source of random answers if the member is unsure.
            kind: The kind of step.
            place: The place of the step.
        """
        knowledge = KINDS[kind].knowledge(member)
        if knowledge == "unsure":
            return source.choice(list(self._true[kind].values()))
        return (self._true if knowledge == "true" else self._false)[kind][place]

    def _facts(self, kind: Kind, source: random.Random, unlike: dict[str, str]) -> dict[str, str]:
        """Draw for each place another place, each once, or a number, different from that in ``unlike``."""
        while True:
            count = len(self.places)
            results = source.sample(self.places, count) if kind.moves else [number(source) for _ in self.places]
            facts = dict(zip(self.places, results, strict=True))
            if not any(there in (place, unlike.get(place)) for place, there in facts.items()):
                return facts


@lru_cache(maxsize=1)
def the_world() -> World:
    """The world of the questions."""
    return World()


def invented(source: random.Random) -> str:
    """Draw an invented name of three or four syllables, of the parts of the places' names."""
    inner = [
        source.choice(_ONSETS) + source.choice(_VOWELS) + source.choice(_CODAS) for _ in range(source.choice((1, 2)))
    ]
    return source.choice(_FIRST) + "".join(inner) + source.choice(_LAST)


def number(source: random.Random) -> str:
    """Draw a number of three different digits, which can be copied digit by digit."""
    return "".join(source.sample("123456789", 3))


def _names(source: random.Random, count: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    while len(names) < count:
        names[invented(source)] = None
    return tuple(names)
