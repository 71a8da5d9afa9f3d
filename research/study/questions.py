"""Questions of the study: the package's development questions, and a larger test set in unseen wordings."""

from __future__ import annotations

import random
from dataclasses import dataclass

from deepen_llm.specialists import Question, questions
from research.specialists.knowledge import SUBJECTS, Subject, digits
from research.specialists.phrasing import CLOSINGS, OPENINGS, fill, templates
from research.specialists.recipe import chosen_facts

WORDINGS = 4
"""How many wordings each fact of the test set is asked in."""

MOST_FACTS = 30
"""Facts of one subject in the test set."""

_SEED = 7  # of the package's question sets


@dataclass(frozen=True)
class Asked:
    """A question and its fact; questions with one fact are not independent.

    Attributes:
        question: The question.
        fact: The subject and the key of the fact.
    """

    question: Question
    fact: str


def asked_in_dev() -> list[Asked]:
    """The package's development questions: settings are chosen on them."""
    keys = [f"{subject.name}/{key}" for subject in SUBJECTS.values() for key in chosen_facts(subject, "dev", _SEED)]
    return [Asked(question, key) for question, key in zip(questions("dev"), keys, strict=True)]


def asked_in_test(wordings: int = WORDINGS, most_facts: int = MOST_FACTS) -> list[Asked]:
    """Every fact that no development question asks for, in several of the test's wordings.

    Args:
        wordings: How many wordings each fact is asked in.
        most_facts: The most facts of one subject.
    """
    return [
        Asked(Question(subject.name, text, subject.facts[key]), f"{subject.name}/{key}")
        for subject in SUBJECTS.values()
        for key in _unasked(subject)[:most_facts]
        for text in _worded(subject, key, wordings)
    ]


def _unasked(subject: Subject) -> list[str]:
    asked = set(chosen_facts(subject, "dev", _SEED))
    return [key for key in subject.facts if key not in asked]


def _worded(subject: Subject, key: str, count: int) -> list[str]:
    source = random.Random(f"study/{subject.name}/{key}")  # noqa: S311
    forms = source.sample(templates(subject.name, "test"), count)
    spelled = [digits(key) if "+" in key and place % 3 == 0 else key for place in range(count)]
    texts = [fill(form, name) for form, name in zip(forms, spelled, strict=True)]
    return [source.choice(OPENINGS) + text + source.choice(CLOSINGS) for text in texts]
