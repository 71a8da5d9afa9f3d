"""Measurement of accuracy on the short questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from deepen_llm.demo.batches import answer_all
from deepen_llm.llm import EnsembleLLM
from deepen_llm.specialists import Question

MAX_NEW_TOKENS = 12
"""Enough for the longest right answer, one word, in any member's vocabulary."""


@dataclass(frozen=True)
class QuestionResult:
    """The answers of one model or ensemble.

    Attributes:
        questions: The questions.
        answers: The answer to each.
        tokens: The number of generated tokens.
        seconds: The duration.
    """

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    tokens: int
    seconds: float

    @property
    def right(self) -> list[bool]:
        """Whether each answer is right, without case and surrounding white space."""
        pairs = zip(self.answers, self.questions, strict=True)
        return [answer.strip().casefold() == question.answer.casefold() for answer, question in pairs]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.questions)

    @property
    def tokens_per_second(self) -> float:
        """Main-model tokens per second of all questions of a batch together."""
        return self.tokens / self.seconds

    def accuracy_in(self, subject: str) -> float:
        """Compute the share of right answers in one subject."""
        right = [
            is_right
            for is_right, question in zip(self.right, self.questions, strict=True)
            if question.subject == subject
        ]
        return sum(right) / len(right)


def conversation(question: Question) -> list[dict[str, str]]:
    """Make a conversation of a question."""
    return [{"role": "user", "content": question.question}]


def measure(
    llm: EnsembleLLM, questions: Sequence[Question], advance: Callable[[int], None] = lambda _: None
) -> QuestionResult:
    """Answer all questions greedily, with each member's own chat template.

    Args:
        llm: The ensemble.
        questions: The questions.
        advance: Called after every batch with its number of questions.
    """
    prompts = [conversation(question) for question in questions]
    outputs, seconds = answer_all(prompts, lambda batch: llm.chat(batch, max_new_tokens=MAX_NEW_TOKENS), advance)
    return QuestionResult(
        questions=tuple(questions),
        answers=tuple(output.text for output in outputs),
        tokens=sum(output.usage.completion_tokens for output in outputs),
        seconds=seconds,
    )


def pick(questions: Sequence[Question], subjects: Sequence[str], count: int | None) -> list[Question]:
    """Select questions, ordered by subject.

    Args:
        questions: All questions.
        subjects: The subjects to select; all if empty.
        count: The number of questions, spread evenly over the subjects; None for all.
    """
    by_subject: dict[str, list[Question]] = {}
    for question in questions:
        if not subjects or question.subject in subjects:
            by_subject.setdefault(question.subject, []).append(question)
    in_turn = [question for turn in zip_longest(*by_subject.values()) for question in turn if question]
    chosen = set(in_turn[:count])
    return [question for group in by_subject.values() for question in group if question in chosen]
