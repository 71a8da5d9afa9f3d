"""Asking questions, and counting the right answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from deepen_llm.demo.settings import BATCH
from deepen_llm.llm import EnsembleLLM
from deepen_llm.specialists import Question

MAX_NEW_TOKENS = 12
"""Enough for the longest right answer, one word, in any member's vocabulary."""


@dataclass(frozen=True)
class Result:
    """How one model or ensemble did.

    Attributes:
        questions: What was asked.
        answers: What it said to each.
        tokens: Tokens that it generated.
        seconds: Time that it took.
    """

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    tokens: int
    seconds: float

    @property
    def right(self) -> list[bool]:
        """For each question, whether the answer is the right one but for case and surrounding white space."""
        pairs = zip(self.answers, self.questions, strict=True)
        return [answer.strip().casefold() == question.answer.casefold() for answer, question in pairs]

    @property
    def accuracy(self) -> float:
        """Share of the questions answered rightly."""
        return sum(self.right) / len(self.questions)

    @property
    def tokens_per_second(self) -> float:
        """Main-model tokens per second, over all questions of a batch together."""
        return self.tokens / self.seconds

    def accuracy_in(self, subject: str) -> float:
        """Share of one subject's questions answered rightly."""
        right = [ok for ok, question in zip(self.right, self.questions, strict=True) if question.subject == subject]
        return sum(right) / len(right)


def conversation(question: Question) -> list[dict[str, str]]:
    """A question as a chat."""
    return [{"role": "user", "content": question.question}]


def measure(llm: EnsembleLLM, questions: Sequence[Question], advance: Callable[[int], None] = lambda _: None) -> Result:
    """Ask all questions, greedily, through each member's own chat template.

    Args:
        llm: Who is asked.
        questions: What is asked.
        advance: Told after every batch how many questions it held.
    """
    answers: list[str] = []
    tokens, started = 0, time.perf_counter()
    for first in range(0, len(questions), BATCH):
        batch = [conversation(question) for question in questions[first : first + BATCH]]
        outputs = llm.chat(batch, max_new_tokens=MAX_NEW_TOKENS)
        answers += [output.text for output in outputs]
        tokens += sum(output.usage.completion_tokens for output in outputs)
        advance(len(batch))
    return Result(tuple(questions), tuple(answers), tokens, time.perf_counter() - started)


def pick(questions: Sequence[Question], subjects: Sequence[str], count: int | None) -> list[Question]:
    """Some of the questions, subject by subject.

    Args:
        questions: All questions.
        subjects: The subjects wanted; all where empty.
        count: How many questions, spread evenly over the subjects; None for all.
    """
    by_subject: dict[str, list[Question]] = {}
    for question in questions:
        if not subjects or question.subject in subjects:
            by_subject.setdefault(question.subject, []).append(question)
    in_turn = [question for row in zip_longest(*by_subject.values()) for question in row if question]
    chosen = set(in_turn[:count])
    return [question for group in by_subject.values() for question in group if question in chosen]
