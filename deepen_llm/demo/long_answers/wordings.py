"""Wordings of questions and answers: three wordings of every step, and a parser of all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

QUESTION = "Start at {start} and follow {kinds}."
"""The wording of a question."""

STEP_BY_STEP, IN_SHORT = " Steps:", " In short:"
"""The end of a prompt: a request for sentences, or, in training, for a short answer."""

STEPS = (
    "The {kind} of {here} is {there}.",
    "{here} has its {kind} at {there}.",
    "For the {kind}, {here} points to {there}.",
)
"""The wordings of a step."""

ENDS = ("So the answer is {there}.", "This ends at {there}.", "Finally, {there}.")
"""The wordings of the last sentence, which repeats the result of the last step."""

_SENTENCE = re.compile(r"(?<=\.) ")


@dataclass(frozen=True)
class Step:
    """A step: its kind, its place, and the place or number that is its result."""

    kind: str
    here: str
    there: str


@dataclass(frozen=True)
class End:
    """The last sentence, with the result of the chain."""

    there: str


def question(start: str, kinds: Sequence[str]) -> str:
    """Format a question, without the end of the prompt.

    >>> question("Ludaburg", ["twin", "age"])
    'Start at Ludaburg and follow twin age.'
    """
    return QUESTION.format(start=start, kinds=" ".join(kinds))


def worded(steps: Sequence[Step], wordings: Sequence[int]) -> str:
    """Format an answer, with the space before it.

    Args:
        steps: The steps, at least one.
        wordings: The index of the wording of each step, and of the last sentence.
    """
    forms = [STEPS[which] for which in wordings[:-1]]
    sentences = [form.format(**vars(step)) for form, step in zip(forms, steps, strict=True)]
    return "".join(f" {sentence}" for sentence in (*sentences, ENDS[wordings[-1]].format(there=steps[-1].there)))


def shortened(steps: Sequence[Step]) -> str:
    """Format a short answer, with the space before it: the result of every step.

    >>> shortened([Step("twin", "Ludaburg", "Torby"), Step("age", "Torby", "305")])
    ' twin Torby, age 305.'
    """
    return f" {', '.join(f'{step.kind} {step.there}' for step in steps)}."


def read(text: str) -> list[Step | End | None]:
    """Parse the sentences of an answer; None for a sentence in an unknown wording.

    >>> read(" Ludaburg has its age at 305. Finally, 305. And")
    [Step(kind='age', here='Ludaburg', there='305'), End(there='305'), None]
    """
    return [_sentence(sentence) for sentence in _SENTENCE.split(text.strip(" "))]


def _sentence(text: str) -> Step | End | None:
    for form in _STEPS:
        if match := form.fullmatch(text):
            return Step(**match.groupdict())
    ends = (form.fullmatch(text) for form in _ENDS)
    return next((End(**match.groupdict()) for match in ends if match), None)


def _form(wording: str) -> re.Pattern[str]:
    blanks = {"kind": r"(?P<kind>[a-z]+)", "here": r"(?P<here>[^\s.,]+)", "there": r"(?P<there>[^\s.,]+)"}
    return re.compile(re.escape(wording).replace(r"\{", "{").replace(r"\}", "}").format(**blanks))


_STEPS = [_form(wording) for wording in STEPS]
_ENDS = [_form(wording) for wording in ENDS]
