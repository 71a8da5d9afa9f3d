"""Short ends in the tokens of a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from deepen_llm.structure.closing import End, NoEnd, find_end
from deepen_llm.structure.matches import words
from deepen_llm.structure.patterns import atoms
from deepen_llm.structure.regions import Region
from deepen_llm.structure.spelling import Letters, Speller, parts
from deepen_llm.structure.ways import Ways
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Ending(NamedTuple):
    """A short end of an answer.

    Attributes:
        ids: Ids of special tokens, and of single bytes from the vocabulary's size on.
        tokens: The same text as tokens of the vocabulary.
    """

    ids: Sequence[int] = ()
    tokens: Sequence[int] = ()


class Endings:
    """Finds short ends of a grammar's answers, as tokens.

    Args:
        vocabulary: The main model's vocabulary.
        letters: The letters of the vocabulary.
        speller: Splits a text into tokens.
        lark: The grammar in llguidance's Lark form.
        ends: Short answers, the shortest first; special tokens by their spelling.
    """

    def __init__(
        self, vocabulary: Vocabulary, letters: Letters, speller: Speller, lark: str, ends: Sequence[str] = ()
    ) -> None:
        self._vocabulary = vocabulary
        self._speller = speller
        self._atoms = atoms(lark)
        self._lark = lark
        self._ends = [ids for text in ends if (ids := self._ids(text))]
        self._ways = Ways(vocabulary.size, letters, self._atoms, lambda: self._words)

    @cached_property
    def _matches(self) -> list[bytes]:
        """A shortest text for each of the grammar's patterns, escaped as in a JSON string."""
        return [json.dumps(word, ensure_ascii=False)[1:-1].encode() for word in words(self._lark)]

    @cached_property
    def _words(self) -> list[bytes]:
        """The shortest texts that the vocabulary can spell."""
        return [word for word in self._matches if self._speller(word) is not None]

    def find(self, matcher: LLMatcher, region: Region, former: Ending) -> Ending:
        """Find a short end.

        Args:
            matcher: The matcher at the start, over single bytes; its state is restored.
            region: The region of the start.
            former: The end before the last token.

        Raises:
            NoEnd: The search found none.
        """
        end = find_end(self._ways, matcher, region, former.ids, self._ends)
        return Ending(end.ids, self._written(end, former))

    def lacking(self, matcher: LLMatcher) -> str:
        """Find a character of a short end that the vocabulary cannot spell; empty if there is none.

        Args:
            matcher: The matcher at the start of the grammar.
        """
        ways = Ways(self._vocabulary.size, Letters.any(), self._atoms, lambda: self._matches)
        try:
            text = ways.text(find_end(ways, matcher, Region.OUTSIDE).ids).decode(errors="replace")
        except NoEnd:
            return ""
        return next((character for character in text if self._speller(character.encode()) is None), "")

    def behind(self, ending: Ending, token: int) -> Ending:
        """Remove the first token of an end."""
        return Ending(ending.ids[self._size(token) :], ending.tokens[1:])

    def _ids(self, text: str) -> list[int]:
        """The ids of an end, special tokens and bytes; none if the vocabulary cannot spell it."""
        special, ids = {token: id_ for id_, token in self._vocabulary.spellings.items()}, list[int]()
        for part in parts(text, special):
            if part in special:
                ids.append(special[part])
            elif self._speller(part.encode()) is None:
                return []
            else:
                ids += (self._vocabulary.size + byte for byte in part.encode())
        return ids

    def _written(self, end: End, former: Ending) -> list[int]:
        """The tokens of an end; for the rest of the former end, the same tokens as before."""
        left, passed = len(former.ids), 0
        while passed < len(former.tokens) and left > end.kept:
            left -= self._size(former.tokens[passed])
            passed += 1
        tokens = list[int]()
        for special, run in groupby(end.ids[: len(end.ids) - left], lambda id_: id_ < self._vocabulary.size):
            ids = list(run)
            tokens += ids if special else self._spelled(self._ways.text(ids))
        return [*tokens, *former.tokens[passed:]]

    def _spelled(self, text: bytes) -> list[int]:
        tokens = self._speller(text)
        if tokens is None:
            raise NoEnd(text)
        return tokens

    def _size(self, token: int) -> int:
        surface = self._vocabulary.surfaces[token]
        return 1 if surface is None else len(surface)
