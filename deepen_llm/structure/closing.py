"""Search for a short end of an unfinished document: few bytes after which the grammar accepts."""

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
    Manner(1_000, ordered=False),  # enough if the allowed bytes distinguish most states
    Manner(20_000),
    Manner(60_000, counted=True),
    Manner(100_000, counted=True, thorough=True),
)
_MOST = 250_000  # most texts of the search for one end
_ALTERNATIVES = 4  # continuations to try if the shortest leads to no end
_DEEPEST = 64  # most open brackets of an end; deeper structures may recur without end
_SHALLOW = (1, 2, 4, 8, 16)  # depths to try next, each with this many returns to a fork:
_RETURNS = 500
_STEPS = 1 << 16  # most keys, values and separators of an end
_RUN = re.compile(rb"(.)\1{7,}", re.DOTALL)  # a run of one byte, which may be shortened
_FEW = 3  # shortest runs to try
_AHEAD = 64  # bytes of the previous end after which its rest may fit again
_LONG = 512  # ids of an end from which the rests are searched by bisection
_PROBE = 8  # bytes that rule out most rests
_ASCII = (1 << 128) - 1
_ESCAPES = b'nt\\"/bfr'
_SIMPLER = "make the structure simpler: fewer alternatives, less nesting, shorter patterns"


class NoEnd(Exception):  # noqa: N818 (callers turn it into an error only where an end is required)
    """The search found no end.

    Args:
        behind: The text that the search could not continue.
    """

    def __init__(self, behind: bytes) -> None:
        super().__init__(behind)
        self.behind = behind


class End(NamedTuple):
    """An end of a document.

    Attributes:
        ids: Ids of special tokens and bytes.
        kept: The number of ids at its end that are the rest of the previous end.
    """

    ids: list[int]
    kept: int


class Closings:
    """Finds short ends for one grammar.

    Objects, arrays, keys and values end as soon as the grammar allows; required text in between is searched.

    Args:
        size: The id of the first byte; lower ids are tokens.
        letters: The letters that ends are composed of.
        atoms: The characters that the grammar's patterns require.
        words: Returns texts that match the grammar's patterns, to try after the plain search fails.
        ends: Short documents, the shortest first, whose rest may be an end.
    """

    def __init__(
        self,
        size: int,
        letters: Letters,
        atoms: Sequence[Atom],
        words: Callable[[], Sequence[bytes]],
        ends: Sequence[Sequence[int]] = (),
    ) -> None:
        self._size = size
        self._words = words
        self.ends = ends
        self._searches = [Search(size, letters, atoms, manner) for manner in _MANNERS]

    def find(self, matcher: LLMatcher, region: Region, former: Sequence[int] = ()) -> End:
        """Find a short end.

        Args:
            matcher: The matcher at the start; its state is restored.
            region: The region of the start.
            former: An end found some bytes before, whose rest may fit again.

        Raises:
            NoEnd: No end is found.
        """
        other = Region.OUTSIDE if region is Region.INSIDE else Region.INSIDE  # quotes in free text may be unpaired
        effort = Effort(_MOST)
        walks = [_Walk(self, matcher, here, former, effort) for here in (region, other)]
        if (known := walks[0].known()) is not None:
            return known
        for walk in walks:
            for deepest, returns in ((_DEEPEST, 0), *((depth, _RETURNS) for depth in _SHALLOW)):
                end = walk.find(deepest, returns)
                if end is not None:
                    return end
        raise NoEnd(walks[0].furthest)

    def ways(self, matcher: LLMatcher, region: Region, effort: Effort) -> Iterator[list[int]]:
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


@dataclass(eq=False)
class _Fork:
    """A state with several continuations.

    Attributes:
        region: Its region.
        size: The number of ids that lead to it.
        depth: The number of open brackets, relative to the start.
        ways: The continuations that are not tried yet.
    """

    region: Region
    size: int
    depth: int
    ways: Iterator[list[int]]


class _Walk:
    """The search for one end.

    Args:
        closings: Yields the continuations.
        matcher: The matcher at the start.
        region: The region of the start.
        former: The end found some bytes before.
        effort: The budget, decremented here.

    Attributes:
        furthest: The longest text that was reached.
    """

    def __init__(
        self, closings: Closings, matcher: LLMatcher, region: Region, former: Sequence[int], effort: Effort
    ) -> None:
        self._closings = closings
        self._matcher = matcher.deep_copy()
        self._region = region
        self._former = former
        self._effort = effort
        self._ids: list[int] = []
        self._forks: list[_Fork] = []
        self.furthest = b""

    def known(self) -> End | None:
        """The rest of the former end, else of a short document; None if none fits."""
        if (rest := self._former_rest()) is not None:
            return End(rest, len(rest))
        rests = (self._rest(end) for end in self._closings.ends)
        return next((End(rest, 0) for rest in rests if rest is not None), None)

    def find(self, deepest: int, returns: int) -> End | None:
        """Search an end within a number of open brackets and of returns to a fork."""
        self._back(0)
        self._forks = []
        self._fork(self._region, 0)
        for _ in range(_STEPS):
            if not self._forks or self._effort.left <= 0:
                break
            fork = self._forks[-1]
            self._back(fork.size)
            way = next(fork.ways, None)
            if way is None:
                self._forks.pop()
            text = self._closings.text(way or ())
            depth = fork.depth + fork.region.opened(text)
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
        """Roll back to the state after a number of ids."""
        if more := len(self._ids) - size:
            self._matcher.rollback(more)
            del self._ids[size:]

    def _take(self, fork: _Fork, way: list[int], text: bytes, depth: int) -> list[int] | None:
        """Append a continuation; return the rest of the end if it is known."""
        if not self._matcher.consume_tokens(way):
            raise StructureError(f"the structure's grammar stopped: {self._matcher.get_error()}", hint=_SIMPLER)
        self._ids += way
        return self._reach(fork.region.after(text) if text else Region.OUTSIDE, depth)

    def _reach(self, region: Region, depth: int) -> list[int] | None:
        """Return the rest of the end if it is known, else add a fork."""
        rest = self._former_rest()
        if rest is None:
            self._fork(region, depth)
        return rest

    def _fork(self, region: Region, depth: int) -> None:
        ways = self._closings.ways(self._matcher, region, self._effort)
        self._forks.append(_Fork(region, len(self._ids), depth, ways))

    def _former_rest(self) -> list[int] | None:
        return [] if self._matcher.is_accepting() else self._rest(self._former)

    def _rest(self, end: Sequence[int]) -> list[int] | None:
        """The shortest rest of an end that ends the document here; for a long end, possibly a longer one."""
        ahead = range(min(_AHEAD, len(end)) - 1, -1, -1)
        starts: Iterator[int] = (start for start in ahead if self._goes_on(end, start))
        if len(end) > _LONG:
            several = list(starts)  # a rest of a long list fits if it has enough items, so bisection finds the shortest
            index = bisect_left(several, True, key=lambda start: self._ends(list(end[start:])))
            starts = iter([*several[index : index + 1], *several])
        return next((rest for start in starts if self._ends(rest := list(end[start:]))), None)

    def _goes_on(self, end: Sequence[int], start: int) -> bool:
        """Whether the grammar allows the first few ids of a rest here."""
        probe = list(end[start : start + _PROBE])
        return bool(self._matcher.validate_tokens(probe) == len(probe))

    def _ends(self, rest: list[int]) -> bool:
        """Whether these ids end the document; the matcher's state is restored."""
        if self._matcher.validate_tokens(rest) < len(rest):
            return False
        self._matcher.consume_tokens(rest)
        accepting: bool = self._matcher.is_accepting()
        self._matcher.rollback(len(rest))
        return accepting
