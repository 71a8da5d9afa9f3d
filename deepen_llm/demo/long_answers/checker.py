"""What became of an answer: right, wrong, or derailed, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.wordings import End, Step, read
from deepen_llm.demo.long_answers.world import KINDS, World

Derailment = Literal["malformed", "unknown name", "other steps", "another place"]
"""How an answer derails: a sentence in no wording, or none that ends it; a name that is no place, or a number that is
none; other steps than were asked for, or in another order; a step, or the end, from elsewhere than was reached."""

DERAILMENTS: tuple[Derailment, ...] = ("malformed", "unknown name", "other steps", "another place")
"""Every kind of derailment."""

Outcome = Literal["right", "wrong"] | Derailment
"""``wrong`` is an answer that is in order, but for look-ups that are false."""


@dataclass(frozen=True)
class Verdict:
    """What became of an answer.

    Attributes:
        outcome: The first derailment decides.
        steps: How many steps were in order.
        false: Which of these have a false look-up, counted from 0.
    """

    outcome: Outcome
    steps: int
    false: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether every look-up is true and everything is in order."""
        return self.outcome == "right"

    @property
    def derailed(self) -> bool:
        """Whether the answer is no answer to what was asked."""
        return self.outcome in DERAILMENTS


def check(chain: Chain, text: str, world: World) -> Verdict:
    """Check an answer, sentence by sentence, in whatever wordings.

    A look-up is false where what the step comes to is not so for the place that it is taken from; the steps that
    follow are checked from there.

    Args:
        chain: What was asked.
        text: The answer.
        world: What is true.
    """
    sentences = read(text)
    here = there = chain.start
    false: list[int] = []
    for place, kind in enumerate(chain.kinds):
        step = sentences[place] if place < len(sentences) else None
        if not isinstance(step, Step):
            return Verdict("malformed" if step is None else "other steps", place, tuple(false))
        if trouble := _of_step(step, kind, here, world):
            return Verdict(trouble, place, tuple(false))
        there = step.there
        if there != world.fact(kind, here):
            false.append(place)
        here = there if KINDS[kind].moves else here
    ending = _of_end(sentences[len(chain.kinds) :], there, world)
    return Verdict(ending or ("wrong" if false else "right"), len(chain.kinds), tuple(false))


def _of_step(step: Step, kind: str, here: str, world: World) -> Derailment | None:
    """What is out of order in a step, which may well be false."""
    if step.kind != kind:
        return "other steps"
    known = step.there in world.places if KINDS[kind].moves else step.there.isdecimal()
    if step.here not in world.places or not known:
        return "unknown name"
    return None if step.here == here else "another place"


def _of_end(rest: Sequence[Step | End | None], there: str, world: World) -> Derailment | None:
    """What is out of order after the last step: one sentence is to come, which repeats what was reached."""
    end, *more = rest or [None]
    if isinstance(end, Step):
        return "other steps"
    if end is None or more:
        return "malformed"
    if end.there not in world.places and not end.there.isdecimal():
        return "unknown name"
    return None if end.there == there else "another place"
