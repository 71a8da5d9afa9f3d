"""Syntax trees of regular expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepen_llm.structure.charsets import CharSet

MANY = 2**31
ANY = CharSet(negated=True)


@dataclass(frozen=True)
class Sequence:
    """A concatenation of parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """An alternation."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A repetition of a part; ``most`` of ``MANY`` is no limit."""

    part: Node
    least: int
    most: int


@dataclass(frozen=True)
class Anchor:
    """An anchor, ``^`` or ``$``."""

    start: bool


@dataclass(frozen=True)
class Look:
    """A look-ahead or look-behind."""

    part: Node
    ahead: bool
    negative: bool


Node = CharSet | Sequence | Choice | Repeat | Anchor | Look


def parts_of(node: Node) -> tuple[Node, ...]:
    """The parts that a node concatenates; itself if it is no sequence."""
    return node.parts if isinstance(node, Sequence) else (node,)


def char_sets(node: Node) -> Iterator[CharSet]:
    """Yield the character sets of a tree in their order."""
    if isinstance(node, CharSet):
        yield node
    elif isinstance(node, Repeat | Look):
        yield from char_sets(node.part)
    elif isinstance(node, Sequence | Choice):
        for part in node.parts if isinstance(node, Sequence) else node.options:
            yield from char_sets(part)
