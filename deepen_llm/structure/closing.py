"""A short end for an unfinished document: how a grammar comes to accept within few bytes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepen_llm.errors import StructureError
from deepen_llm.structure.patterns import Atom
from deepen_llm.structure.regions import ENDING, Look, Region
from deepen_llm.structure.search import Effort, Manner, Search
from deepen_llm.structure.spelling import Letters

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MANNERS = (
    Manner(1_000, ordered=False),  # enough where what may follow tells most states apart
    Manner(20_000),
    Manner(60_000, counted=True),
    Manner(100_000, counted=True, thorough=True),
)
_MOST = 250_000  # texts looked at for one end
_ALTERNATIVES = 4  # ways tried where the shortest leads to no end
_DEEPEST = 64  # brackets that an end may open at a time; what goes deeper may well recur without end
_SHALLOW = (1, 2, 4, 8, 16)  # then tried in turn, each with as many returns to where there was another way
_RETURNS = 500
_STEPS = 1 << 16  # keys, values and what stands between them
_RUN = re.compile(rb"(.)\1{7,}", re.DOTALL)  # repetitions that may be shortened
_FEW = 3  # times that may be enough
_AHEAD = 64  # bytes of a former end, behind which its rest may fit again
_LONG = 512  # ids of an end whose rests take long to try
_PROBE = 8  # bytes that tell most rests which do not fit
_ASCII = (1 << 128) - 1
_ESCAPES = b'nt\\"/bfr'
_SIMPLER = "make the structure simpler: fewer alternatives, less nesting, shorter patterns"


class NoEnd(Exception):  # noqa: N818 (not an error yet: it becomes one where an end is needed)
    """No end is found.

    Args:
        behind: The text that the search could not go on from.
    """

    def __init__(self, behind: bytes) -> None:
        super().__init__(behind)
        self.behind = behind


class End(NamedTuple):
    """An end.

    Attributes:
        ids: Of special tokens and bytes.
        kept: How many ids at its end are the rest of a former end.
    """

    ids: list[int]
    kept: int


class Closings:
    """Finds short ends for one grammar.

    Objects, arrays, keys and values end as soon as they may; what must stand in between is searched.

    Args:
        size: Where the bytes' ids begin; lower ids are tokens.
        letters: What ends are made of.
        atoms: The characters that the grammar's patterns ask for.
        words: Texts that its strings may be, where a plain search does not do.
        ends: Short documents, the shortest first, of which a rest may fit where an end starts.
    """

    def __init__(
        self,
        size: int,
        letters: Letters,
        atoms: Sequence[Atom],
        words: Callable[[], Sequence[bytes]],
        ends: Sequence[Sequence[int]] = (),
    ) -> None:
        self._size, self._words, self.ends = size, words, ends
        self._searches = [Search(size, letters, atoms, manner) for manner in _MANNERS]

    def find(self, matcher: LLMatcher, place: Region, former: Sequence[int] = ()) -> End:
        """A short end.

        Args:
            matcher: Where to start; left as it is.
            place: Its place.
            former: An end found some bytes before, whose rest may fit again.

        Raises:
            NoEnd: No end is found.
        """
        other = Region.OUTSIDE if place is Region.INSIDE else Region.INSIDE  # quotes in free text may be unpaired
        effort = Effort(_MOST)
        walks = [_Walk(self, matcher, here, former, effort) for here in (place, other)]
        if (known := walks[0].known()) is not None:
            return known
        for walk in walks:
            for deepest, returns in ((_DEEPEST, 0), *((depth, _RETURNS) for depth in _SHALLOW)):
                found = walk.find(deepest, returns)
                if found is not None:
                    return found
        raise NoEnd(walks[0].furthest)

    def ways(self, matcher: LLMatcher, place: Region, effort: Effort) -> Iterator[list[int]]:
        """Ways to go on from a matcher that does not accept: their ids (see `Search.ways`)."""
        look = Look.at(matcher, self._size)
        if not look.bytes:
            yield from ([id_] for id_ in self._special(matcher)[:1])
            return
        if look.ends(place):
            yield [self._size + next(byte for byte in ENDING if look.may(byte))]
            return
        found = False
        for texts in self._texts(matcher, place, effort):
            for text in islice(texts, 0 if found else _ALTERNATIVES):
                found = True
                yield self._ids(self._shortened(matcher, place, text))

    def _texts(self, matcher: LLMatcher, place: Region, effort: Effort) -> Iterator[Iterator[bytes]]:
        """Texts to go on with, in several manners: the plain search, known words, thorough searches."""
        plain, *thorough = self._searches
        yield plain.ways(matcher, place, effort)
        yield (text for text in self._strings(matcher, place) if self._leads(matcher, place, text))
        yield from (search.ways(matcher, place, effort) for search in thorough)

    def _strings(self, matcher: LLMatcher, place: Region) -> Iterator[bytes]:
        """The known words as strings, or the ends of them where a string is begun, short ones first."""
        if place is Region.OUTSIDE:
            yield from (b'"' + word + b'"' for word in self._words())
        else:
            ends = self._characters(matcher, place)
            yield from (begun + rest for rest in self._rests for begun in ends)

    def _characters(self, matcher: LLMatcher, place: Region) -> list[bytes]:
        """What ends a character or an escape that is begun."""
        look = Look.at(matcher, self._size)
        if place is Region.ESCAPED:
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

    def _shortened(self, matcher: LLMatcher, place: Region, text: bytes) -> bytes:
        """A way without the repetitions that it does not need, which a search tries for what needs them."""
        for run in re.finditer(_RUN, text):
            fewer = (text.replace(run[0], run[1] * times, 1) for times in range(_FEW))
            text = next((one for one in fewer if self._leads(matcher, place, one)), text)
        return text

    def _leads(self, matcher: LLMatcher, place: Region, text: bytes) -> bool:
        """Whether a text is a way."""
        ids = self._ids(text)
        if matcher.validate_tokens(ids) < len(ids):
            return False
        matcher.consume_tokens(ids)
        look = Look.at(matcher, self._size)
        matcher.rollback(len(ids))
        return look.ends(place.after(text))

    def _ids(self, text: bytes) -> list[int]:
        return [self._size + byte for byte in text]

    def _special(self, matcher: LLMatcher) -> list[int]:
        packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        return [int(id_) for id_ in np.unpackbits(packed, count=self._size, bitorder="little").nonzero()[0]]

    def text(self, ids: Sequence[int]) -> bytes:
        """The bytes among ids."""
        return bytes(id_ - self._size for id_ in ids if id_ >= self._size)


@dataclass(eq=False)
class _Fork:
    """Where an end may go on in several ways.

    Attributes:
        place: Its place.
        size: How many ids lead there.
        depth: How many more brackets stand open than at the start.
        ways: The ways not tried yet.
    """

    place: Region
    size: int
    depth: int
    ways: Iterator[list[int]]


class _Walk:
    """The search for one end.

    Args:
        closings: Tells the ways to go on.
        matcher: Where to start.
        place: Its place.
        former: See `Closings.find`.
        effort: Is spent here.

    Attributes:
        furthest: The longest text that was come to.
    """

    def __init__(
        self, closings: Closings, matcher: LLMatcher, place: Region, former: Sequence[int], effort: Effort
    ) -> None:
        self._closings, self._matcher, self._place, self._former = closings, matcher.deep_copy(), place, former
        self._effort, self._ids, self._forks = effort, list[int](), list[_Fork]()
        self.furthest = b""

    def known(self) -> End | None:
        """The rest of the former end, or else of a short document, where one fits."""
        if (rest := self._former_rest()) is not None:
            return End(rest, len(rest))
        rests = (self._rest(end) for end in self._closings.ends)
        return next((End(rest, 0) for rest in rests if rest is not None), None)

    def find(self, deepest: int, returns: int) -> End | None:
        """An end with at most so many more open brackets than at the start, and so many returns to a fork."""
        self._back(0)
        self._forks = []
        self._fork(self._place, 0)
        for _ in range(_STEPS):
            if not self._forks or self._effort.left <= 0:
                break
            fork = self._forks[-1]
            self._back(fork.size)
            way = next(fork.ways, None)
            if way is None:
                self._forks.pop()
            text = self._closings.text(way or ())
            depth = fork.depth + fork.place.opened(text)
            if way is None or depth > deepest:
                self.furthest = max(self.furthest, self._closings.text(self._ids), key=len)
                returns -= 1
                if returns < 0:
                    return None
                continue
            if not returns:
                self._forks.clear()
            if (rest := self._take(fork, way, text, depth)) is not None:
                return End(self._ids + rest, len(rest))
        return None

    def _back(self, size: int) -> None:
        """Return to where so many ids lead."""
        if more := len(self._ids) - size:
            self._matcher.rollback(more)
            del self._ids[size:]

    def _take(self, fork: _Fork, way: list[int], text: bytes, depth: int) -> list[int] | None:
        """Go a way; returns the rest of the end, where it is known."""
        if not self._matcher.consume_tokens(way):
            raise StructureError(f"the structure's grammar stopped: {self._matcher.get_error()}", hint=_SIMPLER)
        self._ids += way
        return self._reach(fork.place.after(text) if text else Region.OUTSIDE, depth)

    def _reach(self, place: Region, depth: int) -> list[int] | None:
        """Come to a fork; returns the rest of the end instead, where it is known."""
        rest = self._former_rest()
        if rest is None:
            self._fork(place, depth)
        return rest

    def _fork(self, place: Region, depth: int) -> None:
        ways = self._closings.ways(self._matcher, place, self._effort)
        self._forks.append(_Fork(place, len(self._ids), depth, ways))

    def _former_rest(self) -> list[int] | None:
        return [] if self._matcher.is_accepting() else self._rest(self._former)

    def _rest(self, end: Sequence[int]) -> list[int] | None:
        """The shortest rest of an end that ends the document from here; of a long end, perhaps another one."""
        ahead = range(min(_AHEAD, len(end)) - 1, -1, -1)
        starts: Iterator[int] = (start for start in ahead if self._goes_on(end, start))
        if len(end) > _LONG:
            several = list(starts)  # of many items in a list, the rests fit that have enough: that is found by halving
            place = bisect_left(several, True, key=lambda start: self._ends(list(end[start:])))
            starts = iter([*several[place : place + 1], *several])
        return next((rest for start in starts if self._ends(rest := list(end[start:]))), None)

    def _goes_on(self, end: Sequence[int], start: int) -> bool:
        """Whether the first few ids of a rest may follow."""
        probe = list(end[start : start + _PROBE])
        return bool(self._matcher.validate_tokens(probe) == len(probe))

    def _ends(self, rest: list[int]) -> bool:
        """Whether these ids end the document; the matcher goes there and back."""
        if self._matcher.validate_tokens(rest) < len(rest):
            return False
        self._matcher.consume_tokens(rest)
        accepting: bool = self._matcher.is_accepting()
        self._matcher.rollback(len(rest))
        return accepting
