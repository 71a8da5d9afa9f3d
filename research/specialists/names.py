"""Random names, words and numbers, so that answers can only be read from the context."""

from __future__ import annotations

import random

from research.specialists.knowledge import SUBJECTS


def _split(text: str) -> list[str]:
    return text.split()


_ONSETS = (
    *"bcdfghjklmnprstvwz",
    *"bdfgklmnrstv",
    *("", "", "bl", "br", "ch", "cr", "dr", "fl", "gr", "kl", "kr", "pl", "pr", "qu", "sh", "sk", "st", "th", "tr"),
)
_VOWELS = (*"aeiou", *"aeiou", "y", "ai", "ea", "ee", "ia", "ie", "oo", "ou")
_CODAS = ("", "", "", "", *"nrlstmkxdg", "nd", "rk", "lt", "st", "th", "sh", "ck", "rn", "ll", "tz", "mp", "ng")

_FIRST = _split("""
    Anna Ben Carla David Emma Frank Grace Henry Ida John Kate Leo Mary Mira Nina Oscar Paul Rosa Sam Tom Vera Will
    Ada Bob Alice Peter Maria Sara Max Eva Lena Hugo
""")

_FAR = _split("""
    Boston Seattle Denver Dallas Munich Hamburg Cologne Milan Naples Turin Venice Seville Porto Geneva Zurich
    Krakow Gdansk Mumbai Delhi Osaka Kyoto Shanghai Sydney Perth Montreal Vancouver Dublin Glasgow Bristol
    Nice Marseille Antwerp Brussels Amsterdam Bergen Malmo Tampere Houston Phoenix Dubai Jakarta Manila
""")

CITIES = (
    *SUBJECTS["capitals"].facts.values(),
    *_FAR,
    *("New York", "San Diego", "Cape Town", "Hong Kong", "Mexico City", "Los Angeles", "Las Vegas"),
)
"""Cities to ask tools about; there are others that training never names."""

WORDS = tuple(
    sorted(
        {answer.lower() for subject in SUBJECTS.values() if not subject.proper for answer in subject.answers}
        | {key for name in ("young", "opposites", "plurals") for key in SUBJECTS[name].facts}
    )
)
"""Common words."""


def invented(source: random.Random) -> str:
    """Draw an invented name of one to three syllables, or sometimes of random letters.

    Args:
        source: The source of randomness.

    Returns:
        A name that begins with a capital letter.
    """
    if source.random() < 0.12:
        letters = [source.choice("bcdfghjklmnpqrstvwxyz" if source.random() < 0.6 else "aeiou") for _ in range(5)]
        return "".join(letters[: source.randint(3, 5)]).capitalize()
    count = source.choices((1, 2, 3), weights=(2, 6, 3))[0]
    syllables = "".join(source.choice(_ONSETS) + source.choice(_VOWELS) for _ in range(count))
    return f"{syllables}{source.choice(_CODAS)}".capitalize()


def person(source: random.Random) -> str:
    """Draw a person's name of one or two words."""
    first = source.choice(_FIRST) if source.random() < 0.4 else invented(source)
    return first if source.random() < 0.4 else f"{first} {invented(source)}"


def place(source: random.Random) -> str:
    """Draw a place: mostly invented, else a real country."""
    if source.random() < 0.85:
        return invented(source) + (f" {invented(source)}" if source.random() < 0.08 else "")
    return source.choice((*SUBJECTS["capitals"].facts, *CITIES))


def city(source: random.Random) -> str:
    """Draw a real or an invented city."""
    return source.choice(CITIES) if source.random() < 0.4 else place(source)


def word(source: random.Random) -> str:
    """Draw a common word or an answer of a subject."""
    if source.random() < 0.5:
        return source.choice(WORDS)
    return str(source.choice(SUBJECTS[source.choice(tuple(SUBJECTS))].answers))


def number(source: random.Random) -> str:
    """Draw a number of one to six digits, seldom with a fraction or a sign."""
    text = str(source.randrange(10 ** source.choices(range(1, 7), weights=(2, 3, 5, 5, 3, 1))[0]))
    if source.random() < 0.08:
        text += f".{source.randrange(100)}"
    return f"-{text}" if source.random() < 0.04 else text
