"""The shortest text from inside a JSON document to the next place where something may end.

A matcher tells no two states apart but by what may follow. Of texts of one length that let the same bytes follow, the
search keeps one for each character that they may have come to in the grammar's patterns; it is exact for patterns that
this tells apart, and finds a short text for nearly all others.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from deepen_llm.structure.patterns import Atom
from deepen_llm.structure.regions import Look, Region
from deepen_llm.structure.spelling import Letters

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SPACES = frozenset([b" ", b"\n", b"\r", b"\t"])
_COSTS = {b"{": 8, b"[": 8}  # what must be closed again costs more than its byte
_LONG = 48  # bytes; longer texts repeat a letter many times at once
_LONGEST = 1 << 14  # times that a letter may be repeated
_JUMPS, _ENDLESS = 4, 2  # repetitions tried from where the same may follow; those of them that may have no end
_NEXT, _LETTER = 0.05, 1.0  # what a letter costs in a pattern's order, and where there is none
_ELSEWHERE, _AGAIN = 3.0, 2.0  # what it costs out of order, and where repetitions are counted
_RUN = 3  # atoms in order, beyond which no more are told apart
_FIRST = b'"0a@-.:/123456789ntf' + bytes(range(98, 123)) + bytes(range(65, 91))  # what formats want comes early


@dataclass(eq=False)
class _Node:
    """A text that the search has come to.

    Attributes:
        before: The text that this one continues.
        written: What it adds to that.
        place: Where it ends.
        look: What may follow.
        atom: The number of the last atom taken; -1 for none.
        run: How many atoms, up to this text's end, follow one another in their pattern, too.
        taken: How many atoms were taken in all.
        depth: How many nodes are before it.
    """

    before: _Node | None
    written: bytes
    place: Region
    look: Look
    atom: int = -1
    run: int = 0
    taken: int = 0
    depth: int = 0

    @property
    def text(self) -> bytes:
        """All that was added since the start."""
        parts, node = [self.written], self.before
        while node:
            parts.append(node.written)
            node = node.before
        return b"".join(reversed(parts))


class _Cursor:
    """Moves a matcher between the texts of a search.

    Args:
        matcher: At the search's start.
        size: Where the bytes' ids begin.
        start: The search's start.

    Attributes:
        endless: How many repetitions had no end within bounds.
    """

    def __init__(self, matcher: LLMatcher, size: int, start: _Node) -> None:
        self.matcher, self._size, self._trail = matcher, size, [start]
        self.endless = 0

    def go(self, node: _Node) -> None:
        """Bring the matcher to a node."""
        ahead = list[_Node]()
        while node.before and (node.depth >= len(self._trail) or self._trail[node.depth] is not node):
            ahead.append(node)
            node = node.before
        if behind := self._trail[node.depth + 1 :]:
            self.matcher.rollback(sum(len(one.written) for one in behind))
        self._trail[node.depth + 1 :] = reversed(ahead)
        for one in reversed(ahead):
            self.matcher.consume_tokens(self.ids(one.written))

    def ids(self, text: bytes) -> list[int]:
        """A text's ids."""
        return [self._size + byte for byte in text]

    def look(self) -> Look:
        """What may follow where the matcher stands."""
        return Look.at(self.matcher, self._size)

    def beyond(self, letter: bytes) -> Look:
        """What may follow behind one more letter."""
        self.matcher.consume_tokens(self.ids(letter))
        look = self.look()
        self.matcher.rollback(len(letter))
        return look

    def allowed(self, letters: Iterable[bytes]) -> list[bytes]:
        """The letters that may follow."""
        return [one for one in letters if self.matcher.validate_tokens(self.ids(one)) == len(one)]

    def times(self, letter: bytes) -> int:
        """How often a letter may stand here without changing what may follow; 0 where that has no end."""
        matcher, here = self.matcher.deep_copy(), self.look()
        times, step, growing = 0, 1, True
        while step and times < _LONGEST:
            ahead = matcher.deep_copy()
            if ahead.consume_tokens(self.ids(letter) * step) and Look.at(ahead, self._size) == here:
                matcher, times = ahead, times + step
            else:
                growing = False
            step = step * 2 if growing else step // 2
        self.endless += times >= _LONGEST
        return times if times < _LONGEST else 0


@dataclass
class Effort:
    """How many texts may still be looked at, and what was learned.

    Attributes:
        left: The texts.
        known: The letters worth trying, by where a text ends and what may follow.
    """

    left: int
    known: dict[tuple[Region, Look], list[bytes]] = field(default_factory=dict)


class Manner(NamedTuple):
    """How to search.

    Attributes:
        budget: How many texts one search may look at.
        ordered: Whether to tell texts apart by what they have come to in the grammar's patterns.
        counted: Whether to tell them apart by how many of the patterns' characters they have, too.
        thorough: Whether to try every letter everywhere; else, where the same may follow as somewhere before, only one
            of the letters that led to the same from there.
    """

    budget: int
    ordered: bool = True
    counted: bool = False
    thorough: bool = False


class Search:
    """Best-first search over texts, short ones first.

    Args:
        size: Where the bytes' ids begin.
        letters: What texts are made of.
        atoms: The characters that the grammar's patterns ask for.
        manner: How to search.
    """

    def __init__(self, size: int, letters: Letters, atoms: Sequence[Atom], manner: Manner) -> None:
        self._size, self._atoms, self._manner = size, atoms if manner.ordered else (), manner
        first = {bytes([byte]): place for place, byte in enumerate(_FIRST)}
        self._ascii = sorted(letters.ascii, key=lambda one: first.get(one, len(first) + one[0]))
        self._others = letters.others

    def ways(self, matcher: LLMatcher, place: Region, effort: Effort) -> Iterator[bytes]:
        """Texts that lead to where something ends (see `Look.ends`).

        Args:
            matcher: Where to start. At every text that is yielded, and at the end, it is there again; so must the
                caller leave it.
            place: Its place.
            effort: Is spent here.
        """
        start = _Node(None, b"", place, Look.at(matcher, self._size))
        cursor = _Cursor(matcher, self._size, start)
        order, jumps, least = count(), Counter[Look](), effort.left - self._manner.budget
        waiting, seen = [(0.0, next(order), 0, start)], set[tuple[object, ...]]()
        while waiting and effort.left > max(least, 0):
            rank, _, length, node = heapq.heappop(waiting)
            if node is not start and node.look.ends(node.place):
                cursor.go(start)
                yield node.text
                continue
            key = self._key(node, length)
            if key in seen:
                continue
            seen.add(key)
            cursor.go(node)
            children = self._children(node, cursor, effort, direct=place is not Region.OUTSIDE)
            effort.left -= len(children)
            for child in children:
                size = len(child.written)
                heapq.heappush(waiting, (rank + self._cost(node, child), next(order), length + size, child))
            if self._manner.ordered and length >= _LONG and jumps[node.look] < _JUMPS and cursor.endless < _ENDLESS:
                jumps[node.look] += 1
                if far := self._repeated(node, cursor, children):
                    heapq.heappush(waiting, (rank, next(order), length + len(far.written), far))
        cursor.go(start)

    def _key(self, node: _Node, length: int) -> tuple[object, ...]:
        """What the search tells texts apart by."""
        taken = node.taken if self._manner.counted else 0
        return length, node.place, node.look, node.atom, min(node.run, _RUN), taken

    def _cost(self, node: _Node, child: _Node) -> float:
        """What a letter costs: less in a pattern's order, more for what must be closed again."""
        if child.run:
            place = self._atoms[child.atom].place
            follows = child.atom == node.atom + 1 and (node.atom >= 0 or place == 0)
            return _NEXT if follows else _AGAIN if self._manner.counted else _ELSEWHERE
        return _LETTER + (_COSTS.get(child.written, 0) if node.place is Region.OUTSIDE else 0)

    def _children(self, node: _Node, cursor: _Cursor, effort: Effort, *, direct: bool) -> list[_Node]:
        """The texts that are one letter longer; if `direct`, only the one that ends a string, where one does."""
        if direct and node.place is Region.INSIDE and node.look.may(ord('"')):
            return [self._child(node, cursor, b'"')]
        known = effort.known
        tried = None if self._manner.thorough else known.get((node.place, node.look))
        letters = self._letters(node, cursor) if tried is None else cursor.allowed(tried)
        children = [self._child(node, cursor, letter) for letter in letters]
        if tried is None:
            unlike = {(child.place, child.look): child.written for child in reversed(children)}
            known[node.place, node.look] = list(unlike.values())[::-1]
        return [*children, *self._next_atoms(node, cursor)]

    def _next_atoms(self, node: _Node, cursor: _Cursor) -> Iterator[_Node]:
        """The texts that go on with a character which a pattern asks for: any pattern, or the one begun."""
        if node.place is not Region.INSIDE:
            return
        begun = self._atoms[node.atom].pattern if node.atom >= 0 else None
        for number, atom in enumerate(self._atoms):
            fits = begun in {None, atom.pattern} and node.look.may(atom.written[0])
            if fits and cursor.allowed([atom.written]):
                yield self._child(node, cursor, atom.written, number)

    def _letters(self, node: _Node, cursor: _Cursor) -> list[bytes]:
        """The letters that may follow; ASCII ones where there are some."""
        plain = [letter for letter in self._ascii if node.look.may(letter[0])]
        solid = [letter for letter in plain if letter not in _SPACES]
        if node.place is Region.OUTSIDE and solid:
            return solid  # white space changes nothing there
        return plain or cursor.allowed(self._others)

    def _child(self, node: _Node, cursor: _Cursor, letter: bytes, atom: int | None = None) -> _Node:
        """The text with a letter behind it, which is an atom or not."""
        place, look, depth = node.place.after(letter), cursor.beyond(letter), node.depth + 1
        if atom is None:
            return _Node(node, letter, place, look, node.atom, 0, node.taken, depth)
        follows = node.run > 0 and atom == node.atom + 1
        return _Node(node, letter, place, look, atom, node.run + 1 if follows else 1, node.taken + 1, depth)

    def _repeated(self, node: _Node, cursor: _Cursor, children: Sequence[_Node]) -> _Node | None:
        """The text with a letter behind it as often as the same may follow; None where that is once or without end."""
        like = (child.written for child in children if (child.place, child.look) == (node.place, node.look))
        letter = next(like, b"")
        times = cursor.times(letter) if letter else 0
        return (
            _Node(node, letter * times, node.place, node.look, node.atom, 0, node.taken, node.depth + 1)
            if times > 1
            else None
        )
