"""Search for a short end of an unfinished document: few bytes after which the grammar accepts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from deepen_llm.structure.guidance import stopped
from deepen_llm.structure.regions import Region
from deepen_llm.structure.search import Effort
from deepen_llm.structure.ways import Ways

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MOST = 250_000  # most texts of the search for one end
_DEEPEST = 64  # most open brackets of an end; deeper structures may recur without end
_SHALLOW = (1, 2, 4, 8, 16)  # depths to try next, each with this many returns to a fork:
_RETURNS = 500
_STEPS = 1 << 16  # most keys, values and separators of an end
_AHEAD = 64  # bytes of the previous end after which its rest may fit again
_LONG = 512  # ids of an end from which the rests are searched by bisection
_PROBE = 8  # bytes that rule out most rests


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


def find_end(
    ways: Ways, matcher: LLMatcher, region: Region, former: Sequence[int] = (), ends: Sequence[Sequence[int]] = ()
) -> End:
    """Find a short end.

    Args:
        ways: Finds continuations.
        matcher: The matcher at the start; its state is restored.
        region: The region of the start.
        former: An end found some bytes before, whose rest may fit again.
        ends: Short documents, the shortest first, whose rest may be an end.

    Raises:
        NoEnd: No end is found.
    """
    other = Region.OUTSIDE if region is Region.INSIDE else Region.INSIDE  # quotes in free text may be unpaired
    effort = Effort(_MOST)
    walks = [_Walk(ways, matcher, here, former, effort) for here in (region, other)]
    if (known := walks[0].known(ends)) is not None:
        return known
    for walk in walks:
        for deepest, returns in ((_DEEPEST, 0), *((depth, _RETURNS) for depth in _SHALLOW)):
            end = walk.find(deepest, returns)
            if end is not None:
                return end
    raise NoEnd(walks[0].furthest)


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
        ways: Finds the continuations.
        matcher: The matcher at the start.
        region: The region of the start.
        former: The end found some bytes before.
        effort: The budget, decremented here.

    Attributes:
        furthest: The longest text that was reached.
    """

    def __init__(self, ways: Ways, matcher: LLMatcher, region: Region, former: Sequence[int], effort: Effort) -> None:
        self._ways = ways
        self._matcher = matcher.deep_copy()
        self._region = region
        self._former = former
        self._effort = effort
        self._ids: list[int] = []
        self._forks: list[_Fork] = []
        self.furthest = b""

    def known(self, ends: Sequence[Sequence[int]]) -> End | None:
        """The rest of the former end, else of a short document; None if none fits."""
        if (rest := self._former_rest()) is not None:
            return End(rest, len(rest))
        rests = (self._rest(end) for end in ends)
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
            text = self._ways.text(way or ())
            depth = fork.depth + fork.region.opened(text)
            if way is None or depth > deepest:
                self.furthest = max(self.furthest, self._ways.text(self._ids), key=len)
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
            raise stopped(self._matcher)
        self._ids += way
        return self._reach(fork.region.after(text) if text else Region.OUTSIDE, depth)

    def _reach(self, region: Region, depth: int) -> list[int] | None:
        """Return the rest of the end if it is known, else add a fork."""
        rest = self._former_rest()
        if rest is None:
            self._fork(region, depth)
        return rest

    def _fork(self, region: Region, depth: int) -> None:
        ways = self._ways(self._matcher, region, self._effort)
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
