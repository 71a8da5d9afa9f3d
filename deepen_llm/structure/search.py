"""Search of the shortest text from inside a JSON document to where a key, a value or the document may end.

A matcher's state is known only by the bytes that may follow. Of texts of one length after which the same bytes may
follow, the search keeps one for each position that they may have reached in the grammar's patterns. It is exact for
patterns that this distinguishes, and finds a short text for nearly all others.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from deepen_llm.structure.cursor import Cursor, Node
from deepen_llm.structure.patterns import Atom
from deepen_llm.structure.regions import Look, Region
from deepen_llm.structure.spelling import Letters

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SPACES = frozenset([b" ", b"\n", b"\r", b"\t"])
_COSTS = {b"{": 8, b"[": 8}  # an opening bracket needs a closing one
_LONG = 48  # bytes, from which a letter is repeated many times at once
_JUMPS, _ENDLESS = 4, 2  # repetitions tried for equal sets of next bytes; those that may be endless
_NEXT, _LETTER = 0.05, 1.0  # cost of a letter in a pattern's order, and without a pattern
_ELSEWHERE, _AGAIN = 3.0, 2.0  # cost of a letter out of order, and with counted atoms
_RUN = 3  # longer runs of atoms in order are not distinguished
_FIRST = b'"0a@-.:/123456789ntf' + bytes(range(98, 123)) + bytes(range(65, 91))  # characters of common formats first


@dataclass
class Effort:
    """The budget of a search, and letters known from it.

    Attributes:
        left: The number of texts that may still be tried.
        known: The letters to try, by the region and the bytes that may follow.
    """

    left: int
    known: dict[tuple[Region, Look], list[bytes]] = field(default_factory=dict)


class Manner(NamedTuple):
    """The settings of a search.

    Attributes:
        budget: The most texts that one search may try.
        ordered: Whether to distinguish texts by their position in the grammar's patterns.
        counted: Whether to distinguish them by the number of the patterns' characters, too.
        thorough: Whether to try every letter in every state; else, in states with the same next bytes as an earlier
            one, only one of the letters that led to the same state there.
    """

    budget: int
    ordered: bool = True
    counted: bool = False
    thorough: bool = False


class Search:
    """Best-first search over texts, short ones first.

    Args:
        size: The id of the first byte.
        letters: The letters that texts are composed of.
        atoms: The characters that the grammar's patterns require.
        manner: The settings of the search.
    """

    def __init__(self, size: int, letters: Letters, atoms: Sequence[Atom], manner: Manner) -> None:
        self._size = size
        self._atoms = atoms if manner.ordered else ()
        self._manner = manner
        first = {bytes([byte]): rank for rank, byte in enumerate(_FIRST)}
        self._ascii = sorted(letters.ascii, key=lambda letter: first.get(letter, len(first) + letter[0]))
        self._others = letters.others

    def ways(self, matcher: LLMatcher, region: Region, effort: Effort) -> Iterator[bytes]:
        """Yield texts that lead to an end of a key, a value or the document (see `Look.ends`).

        Args:
            matcher: The matcher at the start. Its state is the same at every yield and at the end; the caller must not
                change it.
            region: The region of the start.
            effort: The budget, decremented here.
        """
        start = Node(None, b"", region, Look.at(matcher, self._size))
        cursor = Cursor(matcher, self._size, start)
        order, jumps, least = count(), Counter[Look](), effort.left - self._manner.budget
        waiting, seen = [(0.0, next(order), 0, start)], set[tuple[object, ...]]()
        while waiting and effort.left > max(least, 0):
            rank, _, length, node = heapq.heappop(waiting)
            if node is not start and node.look.ends(node.region):
                cursor.go(start)
                yield node.text
                continue
            key = self._key(node, length)
            if key in seen:
                continue
            seen.add(key)
            cursor.go(node)
            children = self._children(node, cursor, effort, direct=region is not Region.OUTSIDE)
            effort.left -= len(children)
            for child in children:
                size = len(child.written)
                heapq.heappush(waiting, (rank + self._cost(node, child), next(order), length + size, child))
            if self._manner.ordered and length >= _LONG and jumps[node.look] < _JUMPS and cursor.endless < _ENDLESS:
                jumps[node.look] += 1
                if far := self._repeated(node, cursor, children):
                    heapq.heappush(waiting, (rank, next(order), length + len(far.written), far))
        cursor.go(start)

    def _key(self, node: Node, length: int) -> tuple[object, ...]:
        """The key by which the search distinguishes texts."""
        taken = node.taken if self._manner.counted else 0
        return length, node.region, node.look, node.atom, min(node.run, _RUN), taken

    def _cost(self, node: Node, child: Node) -> float:
        """The cost of a letter: less in a pattern's order, more for opening brackets."""
        if child.run:
            position = self._atoms[child.atom].position
            follows = child.atom == node.atom + 1 and (node.atom >= 0 or position == 0)
            return _NEXT if follows else _AGAIN if self._manner.counted else _ELSEWHERE
        return _LETTER + (_COSTS.get(child.written, 0) if node.region is Region.OUTSIDE else 0)

    def _children(self, node: Node, cursor: Cursor, effort: Effort, *, direct: bool) -> list[Node]:
        """The texts with one more letter; if `direct`, inside a string that may end, only the closing quote."""
        if direct and node.region is Region.INSIDE and node.look.may(ord('"')):
            return [self._child(node, cursor, b'"')]
        known = effort.known
        tried = None if self._manner.thorough else known.get((node.region, node.look))
        letters = self._letters(node, cursor) if tried is None else cursor.allowed(tried)
        children = [self._child(node, cursor, letter) for letter in letters]
        if tried is None:
            unlike = {(child.region, child.look): child.written for child in reversed(children)}
            known[node.region, node.look] = list(unlike.values())[::-1]
        return [*children, *self._next_atoms(node, cursor)]

    def _next_atoms(self, node: Node, cursor: Cursor) -> Iterator[Node]:
        """Yield the texts with one more atom, of any pattern, or of the pattern begun."""
        if node.region is not Region.INSIDE:
            return
        begun = self._atoms[node.atom].pattern if node.atom >= 0 else None
        for number, atom in enumerate(self._atoms):
            fits = begun in {None, atom.pattern} and node.look.may(atom.written[0])
            if fits and cursor.allowed([atom.written]):
                yield self._child(node, cursor, atom.written, number)

    def _letters(self, node: Node, cursor: Cursor) -> list[bytes]:
        """The letters that may follow; ASCII letters only, if there are any."""
        plain = [letter for letter in self._ascii if node.look.may(letter[0])]
        solid = [letter for letter in plain if letter not in _SPACES]
        if node.region is Region.OUTSIDE and solid:
            return solid  # white space changes nothing outside strings
        return plain or cursor.allowed(self._others)

    def _child(self, node: Node, cursor: Cursor, letter: bytes, atom: int | None = None) -> Node:
        """Append a letter, which may be an atom, to a text."""
        region, look, depth = node.region.after(letter), cursor.beyond(letter), node.depth + 1
        if atom is None:
            return Node(node, letter, region, look, node.atom, 0, node.taken, depth)
        follows = node.run > 0 and atom == node.atom + 1
        return Node(node, letter, region, look, atom, node.run + 1 if follows else 1, node.taken + 1, depth)

    def _repeated(self, node: Node, cursor: Cursor, children: Sequence[Node]) -> Node | None:
        """Append a letter as often as the next bytes stay the same; None if that is once or endless."""
        like = (child.written for child in children if (child.region, child.look) == (node.region, node.look))
        letter = next(like, b"")
        times = cursor.times(letter) if letter else 0
        return (
            Node(node, letter * times, node.region, node.look, node.atom, 0, node.taken, node.depth + 1)
            if times > 1
            else None
        )
