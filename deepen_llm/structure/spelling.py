"""Splitting of texts into tokens without a tokenizer, byte-exact for any vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from deepen_llm.structure.guidance import SINGLE_BYTES
from deepen_llm.vocabulary import Vocabulary

_LONGEST = 32  # bytes; longer tokens are runs of spaces and the like
_LONGEST_CHARACTER = 4  # bytes


class Speller:
    """Splits texts into a vocabulary's tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = {surface: id_ for surface, id_ in vocabulary.ids.items() if len(surface) <= _LONGEST}
        self._longest: dict[bytes, int] = {}  # length of the longest token by its first two bytes
        for surface in self._ids:
            self._longest[surface[:2]] = max(len(surface), self._longest.get(surface[:2], 0))

    def __call__(self, text: bytes) -> list[int] | None:
        """Split a text into tokens, greedily the longest; None if a byte has no token."""
        tokens, start = list[int](), 0
        while start < len(text):
            size = self._longest.get(text[start : start + 2], 1)
            while size and text[start : start + size] not in self._ids:
                size -= 1
            if not size:
                return None
            tokens.append(self._ids[text[start : start + size]])
            start += size
        return tokens


class Letters(NamedTuple):
    """The smallest byte strings of a vocabulary, which compose every text that it can spell.

    Attributes:
        ascii: Single ASCII bytes.
        others: Further bytes, and characters whose bytes have no tokens of their own.
    """

    ascii: tuple[bytes, ...]
    others: tuple[bytes, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Letters:
        """List a vocabulary's letters."""
        known = set(SINGLE_BYTES) & set(vocabulary.ids)
        short = (surface for surface in vocabulary.ids if 1 < len(surface) <= _LONGEST_CHARACTER)
        whole = [
            text for text in short if not known.issuperset(SINGLE_BYTES[byte] for byte in text) and _is_character(text)
        ]
        plain, high = ([byte for byte in part if byte in known] for part in (SINGLE_BYTES[:128], SINGLE_BYTES[128:]))
        return cls(tuple(plain), (*high, *sorted(whole)))

    @classmethod
    def any(cls) -> Letters:
        """The letters of a vocabulary with every byte."""
        return cls(SINGLE_BYTES[:128], SINGLE_BYTES[128:])


def _is_character(surface: bytes) -> bool:
    try:
        return len(surface.decode()) == 1
    except UnicodeDecodeError:
        return False


def parts(text: str, special: Mapping[str, int]) -> list[str]:
    """Split a text at its special tokens.

    Args:
        text: The text.
        special: Special tokens by their spelling.
    """
    spelled = [token for token in special if token in text]
    split = re.split("(" + "|".join(map(re.escape, spelled)) + ")", text) if spelled else [text]
    return [part for part in split if part]
