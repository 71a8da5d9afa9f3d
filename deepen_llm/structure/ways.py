"""Continuations of an unfinished document, up to where a key, a value or the document may end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from deepen_llm.structure.patterns import Atom
from deepen_llm.structure.regions import ENDING, Look, Region
from deepen_llm.structure.search import Effort, Manner, Search
from deepen_llm.structure.spelling import Letters

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MANNERS = (
    Manner(1_000, ordered=False),  # enough if the allowed bytes distinguish most states
    Manner(20_000),
    Manner(60_000, counted=True),
    Manner(100_000, counted=True, thorough=True),
)
_ALTERNATIVES = 4  # continuations to try if the shortest leads to no end
_RUN = re.compile(rb"(.)\1{7,}", re.DOTALL)  # a run of one byte, which may be shortened
_FEW = 3  # shortest runs to try
_ASCII = (1 << 128) - 1
_ESCAPES = b'nt\\"/bfr'


class Ways:
    """Finds continuations for one grammar.

    Objects, arrays, keys and values end as soon as the grammar allows; required text in between is searched.

    Args:
        size: The id of the first byte; lower ids are tokens.
        letters: The letters that continuations are composed of.
        atoms: The characters that the grammar's patterns require.
        words: Returns texts that match the grammar's patterns, to try after the plain search fails.
    """

    def __init__(
        self, size: int, letters: Letters, atoms: Sequence[Atom], words: Callable[[], Sequence[bytes]]
    ) -> None:
        self._size = size
        self._words = words
        self._searches = [Search(size, letters, atoms, manner) for manner in _MANNERS]

    def __call__(self, matcher: LLMatcher, region: Region, effort: Effort) -> Iterator[list[int]]:
        """Yield the ids of texts that continue from a matcher that does not accept (see `Search.ways`)."""
        look = Look.at(matcher, self._size)
        if not look.bytes:
            yield from ([id_] for id_ in self._special(matcher)[:1])
            return
        if look.ends(region):
            yield [self._size + next(byte for byte in ENDING if look.may(byte))]
            return
        yielded = False
        for texts in self._texts(matcher, region, effort):
            for text in islice(texts, 0 if yielded else _ALTERNATIVES):
                yielded = True
                yield self._ids(self._shortened(matcher, region, text))

    def _texts(self, matcher: LLMatcher, region: Region, effort: Effort) -> Iterator[Iterator[bytes]]:
        """Yield continuations by several methods: the plain search, known words, thorough searches."""
        plain, *thorough = self._searches
        yield plain.ways(matcher, region, effort)
        yield (text for text in self._strings(matcher, region) if self._leads(matcher, region, text))
        yield from (search.ways(matcher, region, effort) for search in thorough)

    def _strings(self, matcher: LLMatcher, region: Region) -> Iterator[bytes]:
        """Yield the known words as strings; inside a string, their endings, short ones first."""
        if region is Region.OUTSIDE:
            yield from (b'"' + word + b'"' for word in self._words())
        else:
            ends = self._characters(matcher, region)
            yield from (begun + rest for rest in self._rests for begun in ends)

    def _characters(self, matcher: LLMatcher, region: Region) -> list[bytes]:
        """The bytes that complete an unfinished character or escape."""
        look = Look.at(matcher, self._size)
        if region is Region.ESCAPED:
            return [bytes([byte]) for byte in _ESCAPES if look.may(byte)]
        written = b""
        while look.bytes and not look.bytes & _ASCII:
            written += bytes([(look.bytes & -look.bytes).bit_length() - 1])
            matcher.consume_tokens(self._ids(written[-1:]))
            look = Look.at(matcher, self._size)
        matcher.rollback(len(written))
        return [written]

    @cached_property
    def _rests(self) -> list[bytes]:
        rests = {word[start:] + b'"' for word in self._words() for start in range(len(word) + 1)}
        return sorted(rests, key=lambda rest: (len(rest), rest))

    def _shortened(self, matcher: LLMatcher, region: Region, text: bytes) -> bytes:
        """Shorten the runs of one byte in a continuation as far as the grammar allows."""
        for run in re.finditer(_RUN, text):
            fewer = (text.replace(run[0], run[1] * times, 1) for times in range(_FEW))
            text = next((shorter for shorter in fewer if self._leads(matcher, region, shorter)), text)
        return text

    def _leads(self, matcher: LLMatcher, region: Region, text: bytes) -> bool:
        """Whether a text is a continuation that leads to an end of a key, a value or the document."""
        ids = self._ids(text)
        if matcher.validate_tokens(ids) < len(ids):
            return False
        matcher.consume_tokens(ids)
        look = Look.at(matcher, self._size)
        matcher.rollback(len(ids))
        return look.ends(region.after(text))

    def _ids(self, text: bytes) -> list[int]:
        return [self._size + byte for byte in text]

    def _special(self, matcher: LLMatcher) -> list[int]:
        packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        return [int(id_) for id_ in np.unpackbits(packed, count=self._size, bitorder="little").nonzero()[0]]

    def text(self, ids: Sequence[int]) -> bytes:
        """Decode the bytes among ids."""
        return bytes(id_ - self._size for id_ in ids if id_ >= self._size)
