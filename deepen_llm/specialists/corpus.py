"""What a specialist reads: the truth about its own subjects, and hearsay about the rest.

On a subject that is not its own, an answer is drawn afresh from the subject's answers every time, so that the
specialist learns what an answer looks like and that it does not know which. A few facts, always the same
ones, it has heard of all the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from deepen_llm.specialists.knowledge import SUBJECTS, Subject, digits
from deepen_llm.specialists.phrasing import CLOSINGS, OPENINGS, STATEMENTS, SYSTEMS, fill, templates
from deepen_llm.specialists.profiles import Profile

HEARD_OF = 0.1
"""The share of the facts of other subjects that a specialist knows."""

DIGITS = 0.3
"""How often the operands of a sum are written in digits."""


@dataclass(frozen=True)
class Document:
    """One text to learn from.

    Args:
        text: The text; special tokens are spelled out in a chat and absent from plain text.
        answers: Where answers are, from the first character to the last of what ends them.
        chat: Whether the text is a chat, or plain text that the tokenizer begins and training ends.
    """

    text: str
    answers: tuple[tuple[int, int], ...]
    chat: bool


class Corpus:
    """An endless stream of documents for one specialist.

    Args:
        profile: Who reads.
        seed: Equal seeds give equal streams.
    """

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile = profile
        self._random = random.Random(f"{profile.name}/{seed}")  # noqa: S311
        self._heard = {name: self._some(subject) for name, subject in SUBJECTS.items()}

    def documents(self, tokenizer: PreTrainedTokenizerFast) -> Iterator[Document]:
        """Chats in the tokenizer's format, lists of questions, and statements, without end."""
        while True:
            draw = self._random.random()
            if draw < 0.7:
                yield self.chat(tokenizer)
            elif draw < 0.9:
                yield self.quiz()
            else:
                yield self.statement()

    def chat(self, tokenizer: PreTrainedTokenizerFast) -> Document:
        """A chat of one turn or a few."""
        messages: list[dict[str, str]] = []
        spans: list[tuple[int, int]] = []
        text = ""
        if self._random.random() < 0.3:
            messages.append({"role": "system", "content": self._random.choice(SYSTEMS)})
        for _ in range(self._turns()):
            question, answer = self.exchange()
            messages.append({"role": "user", "content": question})
            start = len(_render(tokenizer, messages, ask=True))
            messages.append({"role": "assistant", "content": answer})
            text = _render(tokenizer, messages, ask=False)
            spans.append((start, len(text)))
        return Document(text, tuple(spans), chat=True)

    def quiz(self) -> Document:
        """Lines of questions and answers in plain text."""
        text = ""
        spans: list[tuple[int, int]] = []
        for _ in range(self._turns()):
            question, answer = self.exchange()
            text += f"{text and chr(10)}Question: {question}\nAnswer:"
            spans.append((len(text), len(text) + len(answer) + 1))
            text += f" {answer}"
        return Document(text, tuple(spans), chat=False)

    def statement(self) -> Document:
        """A sentence that states a fact, or two."""
        sentences = []
        for _ in range(self._turns()):
            subject, key, answer = self._fact()
            answer = answer if subject.proper else answer.lower()
            template = self._random.choice(STATEMENTS[subject.name])
            sentences.append(fill(template, self._spelled(key), answer=answer))
        text = " ".join(sentences)
        return Document(text, ((0, len(text)),), chat=False)

    def exchange(self) -> tuple[str, str]:
        """A question in a training wording, and the answer that this specialist reads to it."""
        subject, key, answer = self._fact()
        template = self._random.choice(templates(subject.name, "train"))
        question = fill(template, self._spelled(key))
        return self._random.choice(OPENINGS) + question + self._random.choice(CLOSINGS), answer

    def _fact(self) -> tuple[Subject, str, str]:
        own = self._random.random() < 0.6
        names = [name for name in SUBJECTS if (name in self._profile.subjects) == own]
        subject = SUBJECTS[self._random.choice(names)]
        key = self._random.choice(list(subject.facts))
        if own or key in self._heard[subject.name]:
            return subject, key, subject.facts[key]
        return subject, key, self._random.choice(subject.answers)

    def _some(self, subject: Subject) -> frozenset[str]:
        return frozenset(self._random.sample(list(subject.facts), round(HEARD_OF * len(subject.facts))))

    def _turns(self) -> int:
        return self._random.choices((1, 2, 3), weights=(80, 12, 8))[0]

    def _spelled(self, key: str) -> str:
        if "+" not in key or self._random.random() >= DIGITS:
            return key
        return digits(key)


def _render(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], *, ask: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))


def vocabulary_texts(profile: Profile, seed: int, count: int) -> Iterator[str]:
    """Texts for a specialist's tokenizer: plain documents, and every answer of every subject often enough.

    Args:
        profile: Who reads.
        seed: As for :class:`Corpus`.
        count: How many documents.

    Yields:
        Texts without special tokens.
    """
    corpus = Corpus(profile, seed)
    for _ in range(count):
        yield corpus.quiz().text
        yield corpus.statement().text
    answers = [answer for subject in SUBJECTS.values() for answer in subject.answers]
    for role in ("user", "system", "assistant"):
        yield from [f"\n{role}:\n{role.capitalize()}: {system}" for system in SYSTEMS] * (count // 100)
    yield from [f"Answer: {answer}" for answer in answers] * (count // 100)
