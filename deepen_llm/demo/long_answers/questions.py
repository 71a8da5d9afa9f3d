"""Questions: chains for the development set and the test set."""

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
"""A function from a kind and a place to another place or a number."""

COUNTS: dict[Split, int] = {"development": 100, "test": 200}
"""The number of questions in each set; nothing is chosen on the test set."""

LENGTHS = (5, 6, 7, 8)
"""The numbers of steps of a question."""

EVERY = 4
"""One question in this many has a step that only one member was trained on, each member in turn; none has two."""

_SEED = 7
_COMMON = [kind.name for kind in KINDS.values() if kind.only is None]
_ONLY = [kind.name for kind in KINDS.values() if kind.only is not None]


@dataclass(frozen=True)
class Chain:
    """A question: a start and the steps to take.

    Attributes:
        start: The first place.
        kinds: The kinds of the steps, all different.
    """

    start: str
    kinds: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The prompt: the question, with the request to answer step by step."""
        return question(self.start, self.kinds) + STEP_BY_STEP

    @property
    def only(self) -> str | None:
        """The member that alone was trained on one of the steps, if there is such a step."""
        return next((member for kind in self.kinds if (member := KINDS[kind].only)), None)

    def answer(self, world: World) -> list[Step]:
        """Make the right steps."""
        return self.steps(world.fact)

    def steps(self, fact: Fact) -> list[Step]:
        """Make the steps by some facts; a step to a number does not change the place.

        Args:
            fact: Maps a kind and a place to the result of the step.
        """
        here, taken = self.start, []
        for kind in self.kinds:
            taken.append(Step(kind, here, fact(kind, here)))
            here = taken[-1].there if KINDS[kind].moves else here
        return taken


def questions(split: Split) -> tuple[Chain, ...]:
    """List the questions of a set; all questions of both sets are different."""
    return _drawn()[split]


def is_asked(chain: Chain) -> bool:
    """Whether a chain is a question of either set, and so excluded from training."""
    return chain in _asked()


def drawn(source: random.Random, world: World) -> Chain:
    """Draw a chain of any kinds, for training."""
    kinds = source.sample(list(KINDS), source.choice(LENGTHS))
    return Chain(source.choice(world.places), tuple(kinds))


@lru_cache(maxsize=1)
def _drawn() -> dict[Split, tuple[Chain, ...]]:
    source = random.Random(f"questions/{_SEED}")  # noqa: S311
    chosen: dict[Chain, None] = {}
    while len(chosen) < sum(COUNTS.values()):
        chosen[_question(len(chosen), source)] = None
    chains = tuple(chosen)
    first = COUNTS["development"]
    return {"development": chains[:first], "test": chains[first:]}


@lru_cache(maxsize=1)
def _asked() -> frozenset[Chain]:
    return frozenset(chain for chains in _drawn().values() for chain in chains)


def _question(index: int, source: random.Random) -> Chain:
    """Draw the question at an index, which determines its length and the member that alone knows a step."""
    turn = index // EVERY
    only = [_ONLY[turn % len(_ONLY)]] if index % EVERY == 0 else []
    kinds = source.sample(_COMMON, LENGTHS[turn % len(LENGTHS)] - len(only)) + only
    return Chain(source.choice(the_world().places), tuple(source.sample(kinds, len(kinds))))
