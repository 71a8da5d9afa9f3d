"""Complements of regular expressions, for negative look-aheads.

The expression becomes an automaton over sets of characters, which is made deterministic, complemented, and converted
back into an expression by eliminating its states.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

from deepen_llm.structure.charsets import LAST, CharSet, Interval, common, complement, joined
from deepen_llm.structure.nodes import MANY, Anchor, Choice, Node, Repeat, Sequence
from deepen_llm.structure.regex import PatternError

_STATES, _LENGTH = 40, 30_000
_ALL: tuple[Interval, ...] = ((0, LAST),)


def complement_of_prefix(node: Node) -> str:
    """Make the pattern of all strings that do not begin with a match; an end anchor means the end of the string.

    Raises:
        PatternError: It is too large, or has parts that cannot be complemented.
    """
    automaton = Automaton()
    automaton.read(node)
    return "^(?:" + _written(*automaton.complement()) + ")$"


class Automaton:
    """A nondeterministic automaton; state 0 is the start, 1 a match that may continue, 2 a match at the end.

    Attributes:
        moves: Transitions: a state, a set of characters, the next state.
        free: Transitions without a character.
        times: The most repetitions that are unrolled.
    """

    times = 64

    def __init__(self) -> None:
        self.moves: list[tuple[int, tuple[Interval, ...], int]] = [(1, _ALL, 1)]
        self.free: list[tuple[int, int]] = []
        self._new = itertools.count(3)

    def read(self, node: Node) -> None:
        """Add a pattern between the first state and the match."""
        self.free.append((self._add(node, 0), 1))

    def _add(self, node: Node, state: int) -> int:
        """Add a part from a state on; return the state after it."""
        if isinstance(node, CharSet):
            return self._step(node, state)
        if isinstance(node, Sequence):
            for part in node.parts:
                state = self._add(part, state)
            return state
        if isinstance(node, Choice):
            end = next(self._new)
            self.free += [(self._add(option, state), end) for option in node.options]
            return end
        if isinstance(node, Repeat):
            return self._repeat(node, state)
        if isinstance(node, Anchor) and not node.start:
            self.free.append((state, 2))
            self.moves.append((state, ((10, 10),), 2))  # Python's $ also matches before a final newline
            return next(self._new)
        if isinstance(node, Anchor) and state == 0:
            return state
        raise PatternError("a look around inside another, or an anchor in its middle")

    def _step(self, node: CharSet, state: int) -> int:
        end = next(self._new)
        self.moves.append((state, tuple(self.characters(node)), end))
        return end

    def characters(self, node: CharSet) -> list[Interval]:
        """List the characters of a set.

        Raises:
            PatternError: They are unknown.
        """
        characters = node.widest()
        if characters is None:
            raise PatternError("a Unicode property inside a negative look around")
        return characters

    def _repeat(self, node: Repeat, state: int) -> int:
        if node.least > self.times or self.times < node.most < MANY:
            raise PatternError("many repetitions inside a negative look around")
        for _ in range(node.least):
            state = self._add(node.part, state)
        if node.most == MANY:
            loop = next(self._new)
            self.free += [(state, loop), (self._add(node.part, loop), loop)]
            return loop
        end = next(self._new)
        for _ in range(node.most - node.least):
            self.free.append((state, end))
            state = self._add(node.part, state)
        self.free.append((state, end))
        return end

    def complement(self) -> tuple[dict[tuple[int, int], list[Interval]], set[int]]:
        """Compute the transitions of the complement, and its accepting states."""
        free = defaultdict[int, list[int]](list)
        for start, end in self.free:
            free[start].append(end)
        first = closure([0], free)
        numbers, left = {first: 0}, [first]
        moves: dict[tuple[int, int], list[Interval]] = {}
        while left:
            states = left.pop()
            for characters in _blocks([move[1] for move in self.moves if move[0] in states]):
                low = characters[0][0]
                next_states = [
                    end
                    for start, intervals, end in self.moves
                    if start in states and any(a <= low <= b for a, b in intervals)
                ]
                after = closure(next_states, free)
                if 1 in after:
                    continue  # a match, whatever follows
                if after not in numbers:
                    numbers[after] = len(numbers)
                    left.append(after)
                    if len(numbers) > _STATES:
                        raise PatternError("a negative look around that is too large")
                moves.setdefault((numbers[states], numbers[after]), []).extend(characters)
        ends = {number for states, number in numbers.items() if not states & {1, 2}}
        return {} if 1 in first else moves, set() if 1 in first else ends


def closure(states: Iterable[int], free: Mapping[int, list[int]]) -> frozenset[int]:
    """The states that are reached from some states without a character, these included."""
    reached, left = set(states), list(states)
    while left:
        more = [end for end in free.get(left.pop(), ()) if end not in reached]
        reached.update(more)
        left.extend(more)
    return frozenset(reached)


def _blocks(sets: list[tuple[Interval, ...]]) -> list[list[Interval]]:
    """Partition all characters such that each set contains all or none of a block."""
    blocks: list[list[Interval]] = [[(0, LAST)]]
    for characters in sets:
        others = complement(list(characters))
        blocks = [part for block in blocks for half in (list(characters), others) if (part := common(block, half))]
    return blocks


def _written(moves: dict[tuple[int, int], list[Interval]], ends: set[int]) -> str:
    """Convert an automaton into a regular expression."""
    edges = {key: CharSet(tuple(joined(intervals))).text() for key, intervals in moves.items()}
    states = {state for key in edges for state in key} | ends | {0}
    edges |= {(-1, 0): "", **{(end, -2): "" for end in ends}}
    while states:
        state = min(states, key=lambda candidate: (_weight(edges, candidate), candidate))
        states.remove(state)
        loop = edges.pop((state, state), None)
        again = "" if loop is None else f"(?:{loop})*"
        into = {key[0]: edges.pop(key) for key in list(edges) if key[1] == state}
        out = {key[1]: edges.pop(key) for key in list(edges) if key[0] == state}
        for (start, before), (end, after) in itertools.product(into.items(), out.items()):
            path = f"{before}{again}{after}"
            known = edges.get((start, end))
            edges[start, end] = path if known is None else f"(?:{known}|{path})"
            if len(edges[start, end]) > _LENGTH:
                raise PatternError("a negative look around that is too large")
    if (-1, -2) not in edges:
        raise PatternError("a negative look around that excludes every string")
    return edges[-1, -2]


def _weight(edges: dict[tuple[int, int], str], state: int) -> int:
    """How much longer the expression becomes when a state is eliminated."""
    into = [len(text) for (start, end), text in edges.items() if end == state != start]
    out = [len(text) for (start, end), text in edges.items() if start == state != end]
    return sum(into) * len(out) + sum(out) * len(into) + len(edges.get((state, state), "")) * len(into) * len(out)
