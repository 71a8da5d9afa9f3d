"""How a question and its answer are worded: three wordings of every step, and a reader that takes them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

QUESTION = "Start at {start} and follow {kinds}."
"""What is asked."""

STEP_BY_STEP, IN_SHORT = " Steps:", " In short:"
"""What follows a question: members are asked for sentences, and to learn the facts they read short answers too."""

STEPS = (
    "The {kind} of {here} is {there}.",
    "{here} has its {kind} at {there}.",
    "For the {kind}, {here} points to {there}.",
)
"""The wordings of a step."""

ENDS = ("So the answer is {there}.", "This ends at {there}.", "Finally, {there}.")
"""The wordings of the last sentence, which repeats what the last step came to."""

_SENTENCE = re.compile(r"(?<=\.) ")


@dataclass(frozen=True)
class Step:
    """A step: its kind, from where it is taken, and the place or number that it comes to."""

    kind: str
    here: str
    there: str


@dataclass(frozen=True)
class End:
    """The last sentence: what the chain came to."""

    there: str


def question(start: str, kinds: Sequence[str]) -> str:
    """A question, without what follows it.

    >>> question("Ludaburg", ["twin", "age"])
    'Start at Ludaburg and follow twin age.'
    """
    return QUESTION.format(start=start, kinds=" ".join(kinds))


def worded(steps: Sequence[Step], wordings: Sequence[int]) -> str:
    """An answer, with the space before it.

    Args:
        steps: The steps, one or more.
        wordings: The wording of each step, and of the last sentence.
    """
    forms = [STEPS[which] for which in wordings[:-1]]
    said = [form.format(**vars(step)) for form, step in zip(forms, steps, strict=True)]
    return "".join(f" {sentence}" for sentence in (*said, ENDS[wordings[-1]].format(there=steps[-1].there)))


def shortened(steps: Sequence[Step]) -> str:
    """A short answer, with the space before it: what every step came to.

    >>> shortened([Step("twin", "Ludaburg", "Torby"), Step("age", "Torby", "305")])
    ' twin Torby, age 305.'
    """
    return f" {', '.join(f'{step.kind} {step.there}' for step in steps)}."


def read(text: str) -> list[Step | End | None]:
    """The sentences of an answer, in whatever wording; None for one that is in no wording.

    >>> read(" Ludaburg has its age at 305. Finally, 305. And")
    [Step(kind='age', here='Ludaburg', there='305'), End(there='305'), None]
    """
    return [_sentence(one) for one in _SENTENCE.split(text.strip(" "))]


def _sentence(text: str) -> Step | End | None:
    for form in _STEPS:
        if found := form.fullmatch(text):
            return Step(**found.groupdict())
    ends = (form.fullmatch(text) for form in _ENDS)
    return next((End(**found.groupdict()) for found in ends if found), None)


def _form(wording: str) -> re.Pattern[str]:
    blanks = {"kind": r"(?P<kind>[a-z]+)", "here": r"(?P<here>[^\s.,]+)", "there": r"(?P<there>[^\s.,]+)"}
    return re.compile(re.escape(wording).replace(r"\{", "{").replace(r"\}", "}").format(**blanks))


_STEPS, _ENDS = [_form(one) for one in STEPS], [_form(one) for one in ENDS]
