"""Checker of long answers: right, wrong, or derailed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.wordings import End, Step, read
from deepen_llm.demo.long_answers.world import KINDS, World

Derailment = Literal["malformed", "unknown name", "other steps", "another place"]
"""Kinds of derailment: a sentence in an unknown wording, or no last sentence; an unknown name or number; steps other
than those of the question, or in another order; a step, or the end, from a place that was not reached."""

DERAILMENTS: tuple[Derailment, ...] = ("malformed", "unknown name", "other steps", "another place")
"""Every kind of derailment."""

Outcome = Literal["right", "wrong"] | Derailment
"""``wrong`` is a well-formed answer with false look-ups."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer.

    Attributes:
        outcome: ``right``, ``wrong``, or the first derailment.
        steps: The number of well-formed steps.
        false: The indices of steps with a false look-up.
    """

    outcome: Outcome
    steps: int
    false: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether the answer is well-formed and every look-up is true."""
        return self.outcome == "right"

    @property
    def derailed(self) -> bool:
        """Whether the answer derails."""
        return self.outcome in DERAILMENTS


def check(chain: Chain, text: str, world: World) -> Verdict:
    """Check an answer sentence by sentence, in any of the wordings.

    A look-up is false if its result is not the fact about its place; the following steps are checked from its result.

    Args:
        chain: The question.
        text: The answer.
        world: The facts.
    """
    sentences = read(text)
    here = there = chain.start
    false: list[int] = []
    for index, kind in enumerate(chain.kinds):
        step = sentences[index] if index < len(sentences) else None
        if not isinstance(step, Step):
            return Verdict("malformed" if step is None else "other steps", index, tuple(false))
        if derailment := _of_step(step, kind, here, world):
            return Verdict(derailment, index, tuple(false))
        there = step.there
        if there != world.fact(kind, here):
            false.append(index)
        here = there if KINDS[kind].moves else here
    ending = _of_end(sentences[len(chain.kinds) :], there, world)
    return Verdict(ending or ("wrong" if false else "right"), len(chain.kinds), tuple(false))


def _of_step(step: Step, kind: str, here: str, world: World) -> Derailment | None:
    """The derailment in a step; a false look-up is none."""
    if step.kind != kind:
        return "other steps"
    known = step.there in world.places if KINDS[kind].moves else step.there.isdecimal()
    if step.here not in world.places or not known:
        return "unknown name"
    return None if step.here == here else "another place"


def _of_end(rest: Sequence[Step | End | None], there: str, world: World) -> Derailment | None:
    """The derailment after the last step; the correct rest is one sentence that repeats the result."""
    end, *more = rest or [None]
    if isinstance(end, Step):
        return "other steps"
    if end is None or more:
        return "malformed"
    if end.there not in world.places and not end.there.isdecimal():
        return "unknown name"
    return None if end.there == there else "another place"
