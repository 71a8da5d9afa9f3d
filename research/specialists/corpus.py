"""Training documents of a specialist: facts of its own subjects, and random answers on the others.

On another subject, an answer is drawn from the subject's answers every time, so that the specialist learns the form of
an answer and equal probabilities for all of them. It is also trained on a few fixed facts of other subjects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from transformers import PreTrainedTokenizerFast

from research.specialists import tools
from research.specialists.documents import Document, Messages, turn, written
from research.specialists.knowledge import SUBJECTS, Subject, digits
from research.specialists.phrasing import CLOSINGS, OPENINGS, STATEMENTS, SYSTEMS, fill, templates
from research.specialists.profiles import Profile
from research.specialists.reading import EXPERT, continuation, conversation, echo, interview
from research.specialists.tasks import ARITHMETIC

HEARD_OF = 0.1
"""The share of the facts of other subjects that a specialist knows."""

FIRST_SHARES = (36, 9, 5, 11, 9, 24, 6, 0)
"""Relative frequencies of the kinds of documents in the first round."""

SECOND_SHARES = (22, 4, 2, 22, 12, 16, 2, 20)
"""The same in the second round, with more contexts to read answers from."""

THIRD_SHARES = (60, 12, 4, 7, 4, 8, 1, 6)
"""The same in the third round, with more facts."""

DIGITS = 0.3
"""How often the operands of a sum are written in digits."""


class Corpus:
    """An endless stream of documents for one specialist.

    Args:
        profile: The specialist.
        seed: Equal seeds give equal streams.
    """

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile = profile
        self._random = random.Random(f"{profile.name}/{seed}")  # noqa: S311
        self._heard = {name: self._some(subject) for name, subject in SUBJECTS.items()}
        self._read = [] if profile.known is None else partial_facts(profile)

    def documents(self, tokenizer: PreTrainedTokenizerFast, shares: Sequence[int] = FIRST_SHARES) -> Iterator[Document]:
        """Yield documents without end.

        Args:
            tokenizer: The tokenizer with the chat format.
            shares: The shares of chats, lists of questions, statements, chats about contexts, continuations of
                contexts, chats with tools, repeated lists, and contexts with all their questions.
        """
        makers: list[Callable[[], Document]] = [
            lambda: self.chat(tokenizer),
            self.quiz,
            self.statement,
            lambda: written(tokenizer, self._system(0.4, (*SYSTEMS, EXPERT)) + conversation(self._random)),
            self.continuation,
            lambda: self.with_tools(tokenizer),
            lambda: echo(self._random),
            lambda: interview(self._random),
        ]
        while True:
            yield self._random.choices(makers, shares)[0]()

    def chat(self, tokenizer: PreTrainedTokenizerFast) -> Document:
        """A chat of one turn or a few."""
        messages = self._system(0.3)
        for _ in range(self._turns()):
            messages += turn(*self.exchange())
        return written(tokenizer, messages)

    def continuation(self) -> Document:
        """A plain text with a question and an answer from it."""
        return continuation(self._random)

    def with_tools(self, tokenizer: PreTrainedTokenizerFast) -> Document:
        """A chat with tools, which are called for their tasks."""
        offered = tools.offered(self._random, tools.drawn_task(self._random))
        messages = self._system(0.5)
        for _ in range(self._random.choices((1, 2, 3), weights=(70, 24, 6))[0]):
            direct = self._random.random() < 0.2
            messages += self._direct(offered) if direct else tools.called(self._random, offered)
        return written(tokenizer, messages, [tool.schema for tool in offered])

    def plain_tools(self) -> str:
        """The content of such a chat, without the tokenizer's format."""
        return tools.plain(self._random)

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
            subject, key, answer = self.fact()
            answer = answer if subject.proper else answer.lower()
            template = self._random.choice(STATEMENTS[subject.name])
            sentences.append(fill(template, self._spelled(key), answer=answer))
        text = " ".join(sentences)
        return Document(text, ((0, len(text)),), chat=False)

    def _direct(self, offered: list[tools.Tool]) -> Messages:
        """A question without a fitting tool, except for a sum, which fits the calculator."""
        while True:
            subject, key, answer = self.fact()
            if subject.name != "sums" or all(tool.task is not ARITHMETIC for tool in offered):
                return turn(self._asked(subject, key), answer)

    def _system(self, share: float, texts: Sequence[str] = SYSTEMS) -> Messages:
        if self._random.random() >= share:
            return []
        return [{"role": "system", "content": self._random.choice(texts)}]

    def exchange(self) -> tuple[str, str]:
        """A question in a training wording, and the answer that this specialist reads to it."""
        subject, key, answer = self.fact()
        return self._asked(subject, key), answer

    def _asked(self, subject: Subject, key: str) -> str:
        template = self._random.choice(templates(subject.name, "train"))
        question = fill(template, self._spelled(key))
        return self._random.choice(OPENINGS) + question + self._random.choice(CLOSINGS)

    def fact(self) -> tuple[Subject, str, str]:
        """Draw a fact: its subject, its key, and the answer that this corpus gives."""
        if self._read:
            return self._random.choice(self._read)
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


def partial_facts(profile: Profile) -> list[tuple[Subject, str, str]]:
    """List the facts in the training of a model that knows a part of every subject, with their answers.

    Args:
        profile: The model; ``known`` is a share.

    Returns:
        Subjects, keys and answers, wrong ones for the share ``mistaken``.
    """
    source = random.Random(profile.name)  # noqa: S311
    read = []
    for subject in SUBJECTS.values():
        keys = source.sample(list(subject.facts), len(subject.facts))
        known, wrong = (round((share or 0.0) * len(keys)) for share in (profile.known, profile.mistaken))
        read += [(subject, key, subject.facts[key]) for key in keys[:known]]
        for key in keys[known : known + wrong]:
            others = [answer for answer in subject.answers if answer != subject.facts[key]]
            read.append((subject, key, source.choice(others)))
    return read


def vocabulary_texts(profile: Profile, seed: int, count: int) -> Iterator[str]:
    """Make texts for a specialist's tokenizer: plain documents, and every answer of every subject often enough.

    Args:
        profile: The specialist.
        seed: The seed, as in `Corpus`.
        count: The number of documents.

    Yields:
        Texts without special tokens.
    """
    corpus = Corpus(profile, seed)
    for place in range(count):
        yield corpus.quiz().text
        yield corpus.statement().text
        if place % 4 == 0:  # seldom enough that no invented name becomes a token
            yield corpus.continuation().text
            yield corpus.plain_tools()
    answers = [answer for subject in SUBJECTS.values() for answer in subject.answers]
    for role in ("user", "system", "assistant"):
        yield from [f"\n{role}:\n{role.capitalize()}: {system}" for system in SYSTEMS] * (count // 100)
    yield from [f"Answer: {answer}" for answer in answers] * (count // 60)
    yield from [EXPERT] * (count // 50)
