"""Text as tokens without a tokenizer: byte-exact for any vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from deepen_llm.vocabulary import Vocabulary

_LONGEST = 32  # bytes; longer tokens are runs of spaces and the like
_LONGEST_CHARACTER = 4  # bytes


class Speller:
    """Spells texts in a vocabulary's tokens.

    Args:
        vocabulary: The vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = {surface: id_ for surface, id_ in vocabulary.ids.items() if len(surface) <= _LONGEST}
        self._longest: dict[bytes, int] = {}  # bytes of the longest token, by the first two
        for surface in self._ids:
            self._longest[surface[:2]] = max(len(surface), self._longest.get(surface[:2], 0))

    def __call__(self, text: bytes) -> list[int] | None:
        """The text's tokens, always the longest that comes next; None where a byte has none.

        Args:
            text: What to spell.
        """
        tokens, place = list[int](), 0
        while place < len(text):
            size = self._longest.get(text[place : place + 2], 1)
            while size and text[place : place + size] not in self._ids:
                size -= 1
            if not size:
                return None
            tokens.append(self._ids[text[place : place + size]])
            place += size
        return tokens


class Letters(NamedTuple):
    """The smallest things that a vocabulary can write, from which any text that it can write is made.

    Attributes:
        ascii: Single ASCII bytes.
        others: Further bytes, and characters whose bytes have no tokens of their own.
    """

    ascii: tuple[bytes, ...]
    others: tuple[bytes, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Letters:
        """A vocabulary's letters.

        Args:
            vocabulary: The vocabulary.
        """
        single = [bytes([byte]) for byte in range(256)]
        own = {one for one in single if one in vocabulary.ids}
        short = (surface for surface in vocabulary.ids if 1 < len(surface) <= _LONGEST_CHARACTER)
        whole = [one for one in short if not own.issuperset(single[byte] for byte in one) and _is_character(one)]
        plain, high = ([one for one in part if one in own] for part in (single[:128], single[128:]))
        return cls(tuple(plain), (*high, *sorted(whole)))

    @classmethod
    def any(cls) -> Letters:
        """Every byte."""
        return cls(tuple(bytes([byte]) for byte in range(128)), tuple(bytes([byte]) for byte in range(128, 256)))


def _is_character(surface: bytes) -> bool:
    try:
        return len(surface.decode()) == 1
    except UnicodeDecodeError:
        return False


def parts(text: str, special: Mapping[str, int]) -> list[str]:
    """A text split where it spells special tokens.

    Args:
        text: The text.
        special: Special tokens by their spelling.
    """
    spelled = [token for token in special if token in text]
    found = re.split("(" + "|".join(map(re.escape, spelled)) + ")", text) if spelled else [text]
    return [part for part in found if part]
