"""The shortest string that several patterns match together.

Each pattern becomes an automaton over sets of characters. A best-first search runs through their product; the cost of
a state is the length of its text plus the largest distance of any automaton to a match.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache

from deepen_llm.structure.charsets import DOT, CharSet, Interval, common, complement
from deepen_llm.structure.languages import Automaton, closure
from deepen_llm.structure.nodes import ANY, MANY, Anchor, Choice, Node, Repeat, parts_of
from deepen_llm.structure.nodes import Sequence as Parts
from deepen_llm.structure.patterns import member, plain_member, strings
from deepen_llm.structure.regex import PatternError, parse

_STEPS = 20_000  # most states of one automaton, and most steps of the search
_LAST = 2  # the state after a $
_ENDS = frozenset([1, _LAST])
_SURROGATES = range(0xD800, 0xE000)


def words(lark: str) -> list[str]:
    """Find a shortest text for each string and property name with patterns in a grammar's JSON schemas."""
    found = (shortest(patterns, least) for patterns, least in strings(lark))
    return list(dict.fromkeys(word for word in found if word is not None))


@lru_cache(maxsize=1024)
def shortest(patterns: tuple[str, ...], least: int = 0) -> str | None:
    """Find a shortest string that matches all patterns; None if the search finds none.

    It finds none for a pattern with look-around, or one that is too large. Dialects may differ on the result.

    Args:
        patterns: Regular expressions; each may match anywhere in the string.
        least: The least number of characters.
    """
    try:
        tables = [_Table(_floating(parse(pattern)[1])) for pattern in patterns]
        if least:
            tables.append(_Table(Repeat(ANY, least, MANY)))
    except (PatternError, RecursionError, OverflowError):
        return None
    return _common_match(tables)


def _floating(node: Node) -> Node:
    """Prefix a pattern that has no start anchor with any characters."""
    if isinstance(node, Choice):
        return Choice(tuple(map(_floating, node.options)))
    return node if parts_of(node)[:1] == (Anchor(True),) else Parts((Repeat(ANY, 0, MANY), node))


class _Reader(Automaton):
    """An automaton that may be large, with one member of each set that only llguidance defines."""

    times = _STEPS

    def __init__(self) -> None:
        super().__init__()
        self._left = _STEPS

    def characters(self, node: CharSet) -> list[Interval]:
        """List the characters of a set, by the narrow meaning of ``.``."""
        self._left -= 1
        if self._left < 0:
            raise PatternError("too large")
        if node.properties:
            return [(ord(chosen), ord(chosen)) for chosen in member(node)]
        return complement(list(node.intervals)) if node == DOT else super().characters(node)


_Move = tuple[tuple[Interval, ...], int]


class _Table:
    """An automaton's transitions by their start.

    Args:
        node: The pattern.
    """

    def __init__(self, node: Node) -> None:
        automaton = _Reader()
        automaton.read(node)
        self._free = defaultdict[int, list[int]](list)
        self._by_start = defaultdict[int, list[_Move]](list)
        before = defaultdict[int, list[tuple[int, int]]](list)
        for start, end in automaton.free:
            self._free[start].append(end)
            before[end].append((start, 0))
        for start, accepted, end in automaton.moves:
            if end == _LAST:
                continue  # the final newline, before which Python's $ matches
            self._by_start[start].append((accepted, end))
            before[end].append((start, 1))
        self.needs = _distances(before)
        self._moves: dict[int, list[_Move]] = {}

    def moves(self, state: int) -> list[_Move]:
        """List the transitions from a state that lead to a match."""
        if state not in self._moves:
            reached = closure([state], self._free)
            self._moves[state] = [move for start in reached for move in self._by_start[start] if move[1] in self.needs]
        return self._moves[state]


def _distances(before: dict[int, list[tuple[int, int]]]) -> dict[int, int]:
    """The least number of characters from each state to a match; states without a match are left out."""
    distances = dict.fromkeys(_ENDS, 0)
    left = deque(_ENDS)
    while left:
        state = left.popleft()
        for start, cost in before.get(state, ()):
            if distances[state] + cost < distances.get(start, math.inf):
                distances[start] = distances[state] + cost
                (left.append if cost else left.appendleft)(start)
    return distances


def _common_match(tables: Sequence[_Table]) -> str | None:
    """Find the shortest common match of all automata."""
    start = (0,) * len(tables)
    order, written = itertools.count(), {start: ("", 0)}
    waiting = [(_needed(tables, start), next(order), start)]
    for _ in range(_STEPS):
        if not waiting:
            break
        needed, _, states = heapq.heappop(waiting)
        text, size = written[states]
        if needed == size:
            return text
        for characters_, after in _steps(tables, states):
            if (size + 1 < written.get(after, ("", math.inf))[1]) and (letter := _member(characters_)):
                written[after] = text + letter, size + 1
                heapq.heappush(waiting, (size + 1 + _needed(tables, after), next(order), after))
    return None


def _needed(tables: Sequence[_Table], states: Iterable[int]) -> float:
    return max(table.needs.get(state, math.inf) for table, state in zip(tables, states, strict=True))


def _steps(tables: Sequence[_Table], states: tuple[int, ...]) -> list[tuple[list[Interval], tuple[int, ...]]]:
    """List the characters that all automata accept together, with the next state of each."""
    steps: list[tuple[list[Interval], tuple[int, ...]]] = [([(0, 0x10FFFF)], ())]
    for table, state in zip(tables, states, strict=True):
        steps = [
            (shared, (*reached, end))
            for taken, reached in steps
            for characters, end in table.moves(state)
            if (shared := common(taken, list(characters)))
        ]
    return steps


def _member(intervals: Sequence[Interval]) -> str:
    """Choose a member of a set, a plain one if possible; empty if there is none."""
    if plain := plain_member(intervals):
        return plain
    first = (code for low, high in intervals for code in range(max(low, 32), min(high, low + 99) + 1))
    return next((chr(code) for code in first if code not in _SURROGATES), "")
