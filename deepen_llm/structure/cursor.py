"""Texts that a search has reached in a grammar, and the movement of a matcher between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepen_llm.structure.regions import Look, Region

if TYPE_CHECKING:
    from llguidance import LLMatcher

_LONGEST = 1 << 14  # most repetitions of a letter


@dataclass(eq=False)
class Node:
    """A text that the search has reached.

    Attributes:
        before: The node that this one continues; None at the start.
        written: The bytes that it adds.
        region: The region in which it ends.
        look: The bytes that may follow.
        atom: The index of the last atom; -1 for none.
        run: The number of atoms at the end of the text that follow one another in their pattern.
        taken: The number of all its atoms.
        depth: The number of nodes before it.
    """

    before: Node | None
    written: bytes
    region: Region
    look: Look
    atom: int = -1
    run: int = 0
    taken: int = 0
    depth: int = 0

    @property
    def text(self) -> bytes:
        """The text since the start."""
        parts, node = [self.written], self.before
        while node:
            parts.append(node.written)
            node = node.before
        return b"".join(reversed(parts))


class Cursor:
    """Moves a matcher between the nodes of a search.

    Args:
        matcher: The matcher at the start.
        size: The id of the first byte.
        start: The start node.

    Attributes:
        endless: The number of repetitions that reached the limit.
    """

    def __init__(self, matcher: LLMatcher, size: int, start: Node) -> None:
        self.matcher = matcher
        self._size = size
        self._trail = [start]
        self.endless = 0

    def go(self, node: Node) -> None:
        """Move the matcher to a node."""
        ahead = list[Node]()
        while node.before and (node.depth >= len(self._trail) or self._trail[node.depth] is not node):
            ahead.append(node)
            node = node.before
        if behind := self._trail[node.depth + 1 :]:
            self.matcher.rollback(sum(len(passed.written) for passed in behind))
        self._trail[node.depth + 1 :] = reversed(ahead)
        for next_node in reversed(ahead):
            self.matcher.consume_tokens(self.ids(next_node.written))

    def ids(self, text: bytes) -> list[int]:
        """Map a text to ids."""
        return [self._size + byte for byte in text]

    def look(self) -> Look:
        """Read the bytes that may follow in the matcher's state."""
        return Look.at(self.matcher, self._size)

    def beyond(self, letter: bytes) -> Look:
        """Read the bytes that may follow after one more letter."""
        self.matcher.consume_tokens(self.ids(letter))
        look = self.look()
        self.matcher.rollback(len(letter))
        return look

    def allowed(self, letters: Iterable[bytes]) -> list[bytes]:
        """Filter the letters that may follow."""
        return [letter for letter in letters if self.matcher.validate_tokens(self.ids(letter)) == len(letter)]

    def times(self, letter: bytes) -> int:
        """Count how often a letter repeats without changing the bytes that may follow; 0 beyond the limit."""
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
