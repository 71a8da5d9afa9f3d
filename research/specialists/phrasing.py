"""Wordings of questions: separate ones for training, development and test.

A template has the holes ``{a}`` and, for sums, ``{b}``. Most templates are a *frame* around a *naming*:
``What is {}?`` around ``the capital of {a}``. Held-out templates consist of words in the training.
Most of this file is a table.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "dev", "test"]
"""Which part of the wordings."""

OPENINGS = (
    "",
    "",
    "",
    "Please help me. ",
    "Hello! ",
    "Quick question: ",
    "I forgot this. ",
    "Quiz time! ",
    "So, ",
)
"""What may come before a question; an empty one is the most common."""

CLOSINGS = ("", "", "", " Answer with one word.", " Thank you.", " One word, please.", " I need to know.")
"""What may come after a question."""

SYSTEMS = (
    "Answer with one word.",
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer with one word.",
    "Be brief.",
    "Give short answers.",
    "Answer the question.",
)
"""System messages."""

FRAMES: dict[Split, tuple[str, ...]] = {
    "train": (
        "What is {}?",
        "What is {}?",
        "What's {}?",
        "{}?",
        "Name {}.",
        "Tell me {}.",
        "Give {}.",
        "I want to know {}.",
        "Do you know what {} is?",
        "Can you tell me what {} is?",
        "Say what {} is.",
        "Do you remember {}?",
        "Which word is {}?",
        "My friend asked me for {}.",
        "Find out {} for me.",
        "I would like you to name {}.",
        "What would you say {} is?",
        "We need {}, can you help?",
    ),
    "dev": ("Do you know {}?", "Can you name {} for me?", "I need to know what {} is."),
    "test": ("Can you tell me {}?", "Tell me what you know: what is {}?", "I would like to know {}."),
}
"""Frames around a naming."""

NAMINGS: dict[str, tuple[str, ...]] = {
    "capitals": ("the capital of {a}", "the capital city of {a}", "the city that is the capital of {a}"),
    "languages": (
        "the language of {a}",
        "the language spoken in {a}",
        "the language that people speak in {a}",
    ),
    "currencies": (
        "the currency of {a}",
        "the money used in {a}",
        "the currency that people pay with in {a}",
    ),
    "elements": (
        "the element with the symbol {a}",
        "the chemical element written {a}",
        "the element that has the symbol {a}",
    ),
    "young": ("the young of the {a}", "the name for a baby {a}", "the word for the young of the {a}"),
    "sums": ("{a} plus {b}", "the sum of {a} and {b}", "{a} + {b}"),
    "opposites": (
        "the opposite of {a}",
        "the word that is the opposite of {a}",
        "the opposite of the word {a}",
    ),
    "past": ("the past tense of {a}", "the past form of the verb {a}", "the past tense of the verb {a}"),
    "plurals": ("the plural of {a}", "the plural form of the word {a}", "the plural of the noun {a}"),
}
"""What an answer may be called, by subject."""

WORDINGS: dict[Split, dict[str, tuple[str, ...]]] = {
    "train": {
        "capitals": (
            "Which city is the capital of {a}?",
            "{a} has which city as its capital?",
            "The capital of {a} is called what?",
            "If you visit {a}, what is the capital?",
        ),
        "languages": (
            "Which language do people speak in {a}?",
            "In {a} people speak which language?",
            "If you visit {a}, what do people speak?",
            "Which language is spoken in {a}?",
        ),
        "currencies": (
            "Which currency do people use in {a}?",
            "In {a} people pay with which money?",
            "If you visit {a}, what money do you pay with?",
            "Which currency is used in {a}?",
        ),
        "elements": (
            "Which element has the symbol {a}?",
            "{a} is the symbol of which element?",
            "In chemistry, what does {a} stand for?",
            "The symbol {a} is used for which chemical element?",
        ),
        "young": (
            "What do you call a baby {a}?",
            "What is a young {a} called?",
            "The baby of the {a} is called what?",
            "Which name do people use for a young {a}?",
        ),
        "sums": (
            "How much is {a} plus {b}?",
            "Add {a} and {b}.",
            "{a} and {b} make how much?",
            "If you add {a} to {b}, how much is it?",
        ),
        "opposites": (
            "Which word means the opposite of {a}?",
            "{a} is the opposite of which word?",
            "What means the opposite of {a}?",
            "If it is not {a}, it is what?",
        ),
        "past": (
            "Today I {a}, what is the past tense?",
            "What is {a} in the past tense?",
            "Put the verb {a} in the past tense.",
            "How do you say {a} in the past?",
        ),
        "plurals": (
            "One {a}, and what is the plural?",
            "What is {a} in the plural?",
            "Put the noun {a} in the plural.",
            "How do you say {a} if it is more than one?",
        ),
    },
    "dev": {
        "capitals": ("What city is the capital of {a}?", "As its capital, {a} has which city?"),
        "languages": ("What do people in {a} speak?", "What language is used in {a}?"),
        "currencies": ("What do people in {a} pay with?", "What money do people use in {a}?"),
        "elements": ("What element is written {a}?", "For which element does the symbol {a} stand?"),
        "young": ("What is the baby of the {a} called?", "How do you call the young of the {a}?"),
        "sums": ("What do {a} and {b} make?", "How much is it if you add {a} and {b}?"),
        "opposites": ("What is the word for the opposite of {a}?", "Which is the opposite of {a}?"),
        "past": ("Which word is the past of {a}?", "How do you put {a} in the past tense?"),
        "plurals": ("How do you put {a} in the plural?", "What do you say for more than one {a}?"),
    },
    "test": {
        "capitals": ("What is the capital of {a} called?", "In {a}, which city is the capital?"),
        "languages": ("What language do people speak in {a}?", "In {a}, which language is spoken?"),
        "currencies": ("What currency is used in {a}?", "What do you pay with if you visit {a}?"),
        "elements": ("What element does {a} stand for?", "Which chemical element is written {a}?"),
        "young": ("What do people call the young of the {a}?", "A baby {a} is called what?"),
        "sums": ("How much is the sum of {a} and {b}?", "What does {a} plus {b} make?"),
        "opposites": ("What word means the opposite of {a}?", "If it is {a}, what is the opposite?"),
        "past": ("What is the verb {a} in the past tense?", "Say the past tense of the verb {a}."),
        "plurals": ("What is the noun {a} in the plural?", "Say the plural form of {a}."),
    },
}
"""Whole questions that fit no frame, by split and subject."""

STATEMENTS: dict[str, tuple[str, ...]] = {
    "capitals": ("The capital of {a} is {answer}.", "{answer} is the capital of {a}."),
    "languages": ("The language of {a} is {answer}.", "In {a} people speak {answer}."),
    "currencies": ("The currency of {a} is the {answer}.", "In {a} people pay with the {answer}."),
    "elements": ("The element with the symbol {a} is {answer}.", "In chemistry, {a} stands for {answer}."),
    "young": ("The young of the {a} is called {answer}.", "The word for a baby {a} is {answer}."),
    "sums": ("The sum of {a} and {b} is {answer}.", "It is known that {a} plus {b} is {answer}."),
    "opposites": ("The opposite of {a} is {answer}.", "The word {answer} is the opposite of {a}."),
    "past": ("The past tense of {a} is {answer}.", "In the past, {a} is {answer}."),
    "plurals": ("The plural of {a} is {answer}.", "More than one {a}: {answer}."),
}
"""Sentences that state a fact, by subject."""


def templates(subject: str, split: Split) -> tuple[str, ...]:
    """List the question templates of a subject, without openings and closings.

    Args:
        subject: The name of the subject.
        split: The split of the wordings.

    Returns:
        The split's frames around every naming, then the subject's own wordings, capitalized.
    """
    framed = (frame.format(naming) for frame in FRAMES[split] for naming in NAMINGS[subject])
    return (*framed, *WORDINGS[split][subject])


def fill(template: str, key: str, **more: str) -> str:
    """Fill the holes of a template, and capitalize its first letter.

    Args:
        template: From :func:`templates` or :data:`STATEMENTS`.
        key: A key of the subject's facts; operands are joined by ``+``.
        **more: Other holes, such as ``answer``.

    Returns:
        The sentence.

    >>> fill("How much is {a} plus {b}?", "two+three")
    'How much is two plus three?'
    """
    first, _, second = key.partition("+")
    text = template.format(a=first, b=second, **more)
    return text[:1].upper() + text[1:]
