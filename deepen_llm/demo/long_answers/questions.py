"""What is asked: chains to choose settings on, and others to report."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from deepen_llm.demo.long_answers.wordings import STEP_BY_STEP, Step, question
from deepen_llm.demo.long_answers.world import KINDS, World, the_world

Split = Literal["development", "test"]

Fact = Callable[[str, str], str]
"""From a kind and a place to another place or a number."""

COUNTS: dict[Split, int] = {"development": 100, "test": 200}
"""How many questions each set has; nobody chooses anything on the test."""

LENGTHS = (5, 6, 7, 8)
"""How many steps a question asks for."""

EVERY = 4
"""One question in so many has a step that only one member was taught, each member in turn; no question has two."""

_SEED = 7
_COMMON = [kind.name for kind in KINDS.values() if kind.only is None]
_ONLY = [kind.name for kind in KINDS.values() if kind.only is not None]


@dataclass(frozen=True)
class Chain:
    """A question: from where, and which steps to take.

    Attributes:
        start: The first place.
        kinds: The kinds of the steps, each of another kind.
    """

    start: str
    kinds: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """What is asked: a question, to be answered step by step."""
        return question(self.start, self.kinds) + STEP_BY_STEP

    @property
    def only(self) -> str | None:
        """The member that alone was taught one of the steps, if there is such a step."""
        return next((member for kind in self.kinds if (member := KINDS[kind].only)), None)

    def answer(self, world: World) -> list[Step]:
        """The right steps."""
        return self.steps(world.fact)

    def steps(self, fact: Fact) -> list[Step]:
        """The steps by given facts: a number leaves the place as it is.

        Args:
            fact: From a kind and a place to what the step comes to.
        """
        here, taken = self.start, []
        for kind in self.kinds:
            taken.append(Step(kind, here, fact(kind, here)))
            here = taken[-1].there if KINDS[kind].moves else here
        return taken


def questions(split: Split) -> tuple[Chain, ...]:
    """The questions of a set, no two alike in both sets together."""
    return _drawn()[split]


def is_asked(chain: Chain) -> bool:
    """Whether a chain is a question of either set: then nobody may learn from it."""
    return chain in _asked()


def drawn(source: random.Random, world: World) -> Chain:
    """A chain of any kinds, to learn from."""
    kinds = source.sample(list(KINDS), source.choice(LENGTHS))
    return Chain(source.choice(world.places), tuple(kinds))


@lru_cache(maxsize=1)
def _drawn() -> dict[Split, tuple[Chain, ...]]:
    source = random.Random(f"questions/{_SEED}")  # noqa: S311
    found: dict[Chain, None] = {}
    while len(found) < sum(COUNTS.values()):
        found[_question(len(found), source)] = None
    chains = tuple(found)
    first = COUNTS["development"]
    return {"development": chains[:first], "test": chains[first:]}


@lru_cache(maxsize=1)
def _asked() -> frozenset[Chain]:
    return frozenset(chain for chains in _drawn().values() for chain in chains)


def _question(at: int, source: random.Random) -> Chain:
    """The question at a place in the order, which decides how long it is and who alone knows a step."""
    turn = at // EVERY
    only = [_ONLY[turn % len(_ONLY)]] if at % EVERY == 0 else []
    kinds = source.sample(_COMMON, LENGTHS[turn % len(LENGTHS)] - len(only)) + only
    return Chain(source.choice(the_world().places), tuple(source.sample(kinds, len(kinds))))
