"""Short ends in the tokens of a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from deepen_llm.structure.closing import Closings, End, NoEnd
from deepen_llm.structure.matches import words
from deepen_llm.structure.patterns import atoms
from deepen_llm.structure.regions import Region
from deepen_llm.structure.spelling import Letters, Speller, parts
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Ending(NamedTuple):
    """A short end.

    Attributes:
        ids: Of special tokens, and of single bytes from the vocabulary's size on.
        tokens: The tokens that it is written with.
    """

    ids: Sequence[int] = ()
    tokens: Sequence[int] = ()


class Endings:
    """Finds a grammar's short ends, and writes them in tokens.

    Args:
        vocabulary: The main model's vocabulary.
        letters: What the vocabulary can write.
        speller: Writes it.
        lark: The grammar.
        ends: See `Grammars.compile`.
    """

    def __init__(
        self, vocabulary: Vocabulary, letters: Letters, speller: Speller, lark: str, ends: Sequence[str] = ()
    ) -> None:
        self._vocabulary, self._speller = vocabulary, speller
        self._atoms = atoms(lark)
        self._lark = lark
        written = [ids for text in ends if (ids := self._ids(text))]
        self._closings = Closings(vocabulary.size, letters, self._atoms, lambda: self._words, written)

    @cached_property
    def _matches(self) -> list[bytes]:
        """A shortest text for each of the grammar's patterns, as JSON strings have it."""
        return [json.dumps(word, ensure_ascii=False)[1:-1].encode() for word in words(self._lark)]

    @cached_property
    def _words(self) -> list[bytes]:
        """Those of them that the vocabulary can write."""
        return [word for word in self._matches if self._speller(word) is not None]

    def find(self, matcher: LLMatcher, place: Region, former: Ending) -> Ending:
        """A short end.

        Args:
            matcher: Where to start, over single bytes; left as it is.
            place: Its place.
            former: The end before the last token.

        Raises:
            NoEnd: None is found.
        """
        found = self._closings.find(matcher, place, former.ids)
        return Ending(found.ids, self._written(found, former))

    def lacking(self, matcher: LLMatcher) -> str:
        """What a short end needs that the vocabulary has no token for; empty if that is not known.

        Args:
            matcher: At the grammar's start.
        """
        closings = Closings(self._vocabulary.size, Letters.any(), self._atoms, lambda: self._matches)
        try:
            text = closings.text(closings.find(matcher, Region.OUTSIDE).ids).decode(errors="replace")
        except NoEnd:
            return ""
        return next((character for character in text if self._speller(character.encode()) is None), "")

    def behind(self, ending: Ending, token: int) -> Ending:
        """An end without its first token."""
        return Ending(ending.ids[self._size(token) :], ending.tokens[1:])

    def _ids(self, text: str) -> list[int]:
        """The ids of an end, special tokens and bytes; none where the vocabulary cannot write it."""
        special, ids = {token: id_ for id_, token in self._vocabulary.spellings.items()}, list[int]()
        for part in parts(text, special):
            if part in special:
                ids.append(special[part])
            elif self._speller(part.encode()) is None:
                return []
            else:
                ids += (self._vocabulary.size + byte for byte in part.encode())
        return ids

    def _written(self, found: End, former: Ending) -> list[int]:
        """An end's tokens: those of the former end, where that goes on."""
        left, passed = len(former.ids), 0
        while passed < len(former.tokens) and left > found.kept:
            left -= self._size(former.tokens[passed])
            passed += 1
        tokens = list[int]()
        for special, run in groupby(found.ids[: len(found.ids) - left], lambda id_: id_ < self._vocabulary.size):
            ids = list(run)
            tokens += ids if special else self._spelled(self._closings.text(ids))
        return [*tokens, *former.tokens[passed:]]

    def _spelled(self, text: bytes) -> list[int]:
        tokens = self._speller(text)
        if tokens is None:
            raise NoEnd(text)
        return tokens

    def _size(self, token: int) -> int:
        surface = self._vocabulary.surfaces[token]
        return 1 if surface is None else len(surface)
