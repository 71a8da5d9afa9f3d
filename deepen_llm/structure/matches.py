"""The shortest string that several patterns match together.

Each pattern becomes an automaton over sets of characters. The search goes through their product, best first: what is
written so far, and the most that any one of them still needs.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache

from deepen_llm.structure.charsets import DOT, CharSet, Interval, common, complement
from deepen_llm.structure.languages import Automaton
from deepen_llm.structure.patterns import CANDIDATES, characters, strings
from deepen_llm.structure.regex import MANY, Anchor, Choice, Node, PatternError, Repeat, parse
from deepen_llm.structure.regex import Sequence as Parts

_STEPS = 20_000  # of one automaton, and of the search
_LAST = 2  # the state behind a $
_ENDS = frozenset([1, _LAST])
_ANY = CharSet(negated=True)
_SURROGATES = range(0xD800, 0xE000)


def words(lark: str) -> list[str]:
    """A shortest text for each string and property name of a grammar's JSON schemas that has patterns.

    Args:
        lark: A grammar in llguidance's Lark form, its schemas behind ``%json``.
    """
    found = (shortest(patterns, least) for patterns, least in strings(lark))
    return list(dict.fromkeys(word for word in found if word is not None))


@lru_cache(maxsize=1024)
def shortest(patterns: tuple[str, ...], least: int = 0) -> str | None:
    """A shortest string that matches all patterns; None where none is found.

    A pattern that looks around, or is too large, has none. Dialects may differ on what is found: try it.

    Args:
        patterns: Regular expressions; each may match anywhere in the string.
        least: How many characters it must have.
    """
    try:
        tables = [_Table(_floating(parse(pattern)[1])) for pattern in patterns]
        if least:
            tables.append(_Table(Repeat(_ANY, least, MANY)))
    except (PatternError, RecursionError, OverflowError):
        return None
    return _common_match(tables)


def _floating(node: Node) -> Node:
    """The pattern such that it may begin anywhere, where no anchor holds it."""
    if isinstance(node, Choice):
        return Choice(tuple(map(_floating, node.options)))
    first = node.parts[0] if isinstance(node, Parts) and node.parts else node
    held = isinstance(first, Anchor) and first.start
    return node if held else Parts((Repeat(_ANY, 0, MANY), node))


class _Reader(Automaton):
    """An automaton that may be large, and takes one character for a set that only the grammar library knows."""

    times = _STEPS

    def __init__(self) -> None:
        super().__init__()
        self._left = _STEPS

    def characters(self, node: CharSet) -> list[Interval]:
        """What a set takes, by the narrow meaning of ``.``."""
        self._left -= 1
        if self._left < 0:
            raise PatternError("too large")
        known = complement(list(node.intervals)) if node == DOT else node.widest()
        return [(ord(one), ord(one)) for one in characters(node.text())] if known is None else known


_Move = tuple[tuple[Interval, ...], int]


class _Table:
    """An automaton's moves, by where they start.

    Args:
        node: The pattern.
    """

    def __init__(self, node: Node) -> None:
        automaton = _Reader()
        automaton.read(node)
        self._free, self._own = defaultdict[int, list[int]](list), defaultdict[int, list[_Move]](list)
        before = defaultdict[int, list[tuple[int, int]]](list)
        for start, end in automaton.free:
            self._free[start].append(end)
            before[end].append((start, 0))
        for start, own, end in automaton.moves:
            if end == _LAST:
                continue  # the newline before which Python's $ matches
            self._own[start].append((own, end))
            before[end].append((start, 1))
        self.needs = _distances(before)
        self._moves: dict[int, list[_Move]] = {}

    def moves(self, state: int) -> list[_Move]:
        """The moves from a state that lead towards a match."""
        if state not in self._moves:
            reached = self._closed(state)
            self._moves[state] = [move for one in reached for move in self._own[one] if move[1] in self.needs]
        return self._moves[state]

    def _closed(self, state: int) -> set[int]:
        found, left = {state}, [state]
        while left:
            more = [one for one in self._free[left.pop()] if one not in found]
            found.update(more)
            left.extend(more)
        return found


def _distances(before: dict[int, list[tuple[int, int]]]) -> dict[int, int]:
    """How many characters each state is from a match at least; without those that none follows."""
    found = dict.fromkeys(_ENDS, 0)
    left = deque(_ENDS)
    while left:
        state = left.popleft()
        for start, cost in before.get(state, ()):
            if found[state] + cost < found.get(start, math.inf):
                found[start] = found[state] + cost
                (left.append if cost else left.appendleft)(start)
    return found


def _common_match(tables: Sequence[_Table]) -> str | None:
    """The shortest match of all automata."""
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
            if (size + 1 < written.get(after, ("", math.inf))[1]) and (one := _member(characters_)):
                written[after] = text + one, size + 1
                heapq.heappush(waiting, (size + 1 + _needed(tables, after), next(order), after))
    return None


def _needed(tables: Sequence[_Table], states: Iterable[int]) -> float:
    return max(table.needs.get(state, math.inf) for table, state in zip(tables, states, strict=True))


def _steps(tables: Sequence[_Table], states: tuple[int, ...]) -> list[tuple[list[Interval], tuple[int, ...]]]:
    """What all automata may take together, and where that leads each."""
    found: list[tuple[list[Interval], tuple[int, ...]]] = [([(0, 0x10FFFF)], ())]
    for table, state in zip(tables, states, strict=True):
        found = [
            (both, (*reached, end))
            for taken, reached in found
            for own, end in table.moves(state)
            if (both := common(taken, list(own)))
        ]
    return found


def _member(intervals: Sequence[Interval]) -> str:
    """A plain character of a set; empty where it has none."""
    for one in CANDIDATES:
        if any(low <= ord(one) <= high for low, high in intervals):
            return one
    first = (code for low, high in intervals for code in range(max(low, 32), min(high, low + 99) + 1))
    return next((chr(code) for code in first if code not in _SURROGATES), "")
