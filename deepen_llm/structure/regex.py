"""Regular expressions as people write them (JavaScript, Python, Rust), parsed into what all of them mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepen_llm.structure.charsets import DOT, CharSet

MANY = 2**31


@dataclass(frozen=True)
class Sequence:
    """Parts one after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A part again and again; at most ``MANY`` is without limit."""

    part: Node
    least: int
    most: int


@dataclass(frozen=True)
class Anchor:
    """``^`` or ``$``."""

    start: bool


@dataclass(frozen=True)
class Look:
    """A look ahead or behind."""

    part: Node
    ahead: bool
    negative: bool


Node = CharSet | Sequence | Choice | Repeat | Anchor | Look

_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0, "a": 7}
_GROUP = re.compile(r"\?(:|=|!|<=|<!|P?<[^>=!]*>|[a-z]+\)|[a-z]+:)?")
_TIMES = re.compile(r"\{(\d+)(,(\d*))?\}")
_HEX = re.compile(r"x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]+)\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_BRACKET = re.compile(r"(?:\\.|[^\[\]])-\[|\\.|.", re.DOTALL)  # of what a set is made; a range may end in a bracket
_OPEN = re.compile(r"\{,\d*\}")
_PROPERTY = re.compile(r"[pP](\{[^}]*\}|[A-Z])")


class PatternError(ValueError):
    """A pattern that cannot be read, and why."""


def parse(pattern: str) -> tuple[str, Node]:
    """A pattern's flags, such as ``i``, and what it is made of.

    Args:
        pattern: A regular expression.

    Raises:
        PatternError: It is none, or has what no regular language has, such as a backreference.
    """
    flags = ""
    if found := re.match(r"\(\?([a-z]+)\)", pattern):
        flags, pattern = found[1], pattern[found.end() :]
        if set(flags) - set("ius"):
            raise PatternError(f"the flags (?{flags}) are not supported")
    reader = _Reader(pattern, _ANY if "s" in flags else DOT)
    node = reader.choice()
    if reader.rest:
        raise PatternError("an unmatched ')'")
    return flags.replace("u", "").replace("s", ""), node


_ANY = CharSet(negated=True)


class _Reader:
    def __init__(self, pattern: str, dot: CharSet) -> None:
        self._pattern, self._at, self._dot = pattern, 0, dot

    @property
    def rest(self) -> str:
        return self._pattern[self._at :]

    def _take(self, text: str) -> bool:
        taken = self.rest.startswith(text)
        self._at += len(text) if taken else 0
        return taken

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self._pattern, self._at)
        self._at = found.end() if found else self._at
        return found

    def _one(self) -> str:
        if not self.rest:
            raise PatternError("it ends too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def choice(self) -> Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.rest and self.rest[0] not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, node: Node) -> Node:
        while True:
            if found := self._match(_TIMES):
                least = int(found[1])
                most = least if found[2] is None else int(found[3] or MANY)
            elif _OPEN.match(self.rest):
                raise PatternError(f"{self.rest.partition('}')[0]}}} without a number before the comma")
            elif self.rest[:1] in ("*", "+", "?") and self.rest:
                least, most = {"*": (0, MANY), "+": (1, MANY), "?": (0, 1)}[self._one()]
            else:
                return node
            if isinstance(node, Anchor | Look):
                raise PatternError("an anchor or a look around it that repeats")
            self._take("?") or self._take("+")
            node = Repeat(node, least, most)

    def _atom(self) -> Node:
        one = self._one()
        if one == "(":
            return self._group()
        if one == "[":
            return self._set()
        if one == ".":
            return self._dot
        if one in "^$":
            return Anchor(one == "^")
        if one in "*+?":
            raise PatternError(f"nothing before {one!r} to repeat")
        return self._escape() if one == "\\" else _char(ord(one))

    def _group(self) -> Node:
        head = ""
        if self.rest.startswith("?"):
            found = self._match(_GROUP)
            head = found[1] or "" if found else ""
            if not head or head[0] in "abcdefghijklmnopqrstuvwxyz":
                raise PatternError(f"the group (?{head}{self.rest[:3]}")
        node = self.choice()
        if not self._take(")"):
            raise PatternError("a '(' that is not closed")
        if head in ("=", "!", "<=", "<!"):
            return Look(node, "<" not in head, "!" in head)
        return node

    def _escape(self) -> Node:
        one = self._one()
        if one in "dwsDWS":
            return CharSet(named=(one,))
        if one in "AzZ":
            return Anchor(one == "A")
        if one in "bB":
            raise PatternError(f"the word boundary \\{one}")
        if one == "k" or one in "123456789":
            raise PatternError(f"the backreference \\{one}")
        self._at -= 1
        if found := self._match(_PROPERTY):
            return CharSet(properties=("\\" + found[0],))
        return _char(self._escaped())

    def _escaped(self) -> int:
        """The character after a backslash, as the same in and outside a set."""
        if found := self._match(_HEX):
            return int(next(digits for digits in found.groups() if digits), 16)
        one = self._one()
        if one == "c" and self.rest[:1].isalpha():
            return ord(self._one().upper()) - 64
        if one in _CONTROLS:
            return _CONTROLS[one]
        if one.isalnum():
            raise PatternError(f"the escape \\{one}")
        return ord(one)

    def _set(self) -> Node:
        negated = self._take("^")
        intervals: list[tuple[int, int]] = []
        named: list[str] = []
        properties: list[str] = []
        if self.rest[:1] == "]":
            raise PatternError("the set [], which dialects read in different ways")
        while not self._take("]"):
            intervals += self._span(named, properties)
        if any(letter.swapcase() in named for letter in named):  # such as [\s\S]
            return CharSet(negated=not negated)
        return CharSet(tuple(intervals), tuple(named), tuple(properties), negated)

    def _span(self, named: list[str], properties: list[str]) -> list[tuple[int, int]]:
        """One character of a set, or a range; named sets are put into their lists."""
        self._refuse_operators()
        low = high = self._member(named, properties)
        if self.rest[:1] == "-" and self.rest[1:2] not in ("]", ""):
            self._refuse_operators()
            self._one()
            high = self._member(named, properties)
            if low is None or high is None:  # a named set bounds no range: the hyphen is a character
                return [(one, one) for one in (45, low, high) if one is not None]
        if low is None or high is None:
            return []
        if high < low:
            raise PatternError("a range that ends before it begins")
        return [(low, high)]

    def _refuse_operators(self) -> None:
        """Refuse what some dialects read as an operation of sets, or a set within one, and others as characters."""
        if self.rest[:2] in ("&&", "--", "~~"):
            raise PatternError(f"{self.rest[:2]!r} in a set, which dialects read in different ways")
        if self.rest[:1] == "[" and _nests(self.rest):
            raise PatternError("'[' in a set, which dialects read in different ways; write \\[ for the character")

    def _member(self, named: list[str], properties: list[str]) -> int | None:
        """One character of a set; None where it was a named set, which is put into its list."""
        one = self._one()
        if one != "\\":
            return ord(one)
        if self.rest[:1] in tuple("dwsDWS"):
            named.append(self._one())
            return None
        if found := self._match(_PROPERTY):
            properties.append("\\" + found[0])
            return None
        if self._take("b"):
            return 8
        return self._escaped()


def _nests(rest: str) -> bool:
    """Whether a bracket in a set opens another where dialects have that: both are closed then.

    Args:
        rest: The pattern from the bracket on.
    """
    depth = 1
    for part in _BRACKET.findall(rest):
        depth += (part[0] == "[") - (part == "]")
        if not depth:
            return True
    return False


def _char(code: int) -> CharSet:
    return CharSet(((code, code),))
