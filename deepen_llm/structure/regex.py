"""Parser of regular expressions in the dialects of JavaScript, Python and Rust."""

from __future__ import annotations

import re

from deepen_llm.structure.charsets import DOT, CharSet
from deepen_llm.structure.nodes import ANY, MANY, Anchor, Choice, Look, Node, Repeat, Sequence

_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0, "a": 7}
_GROUP = re.compile(r"\?(:|=|!|<=|<!|P?<[^>=!]*>|[a-z]+\)|[a-z]+:)?")
_TIMES = re.compile(r"\{(\d+)(,(\d*))?\}")
_HEX = re.compile(r"x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]+)\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_BRACKET = re.compile(r"(?:\\.|[^\[\]])-\[|\\.|.", re.DOTALL)  # the elements of a set; a range may end in a bracket
_OPEN = re.compile(r"\{,\d*\}")
_PROPERTY = re.compile(r"[pP](\{[^}]*\}|[A-Z])")


class PatternError(ValueError):
    """A pattern that is invalid or not supported."""


def parse(pattern: str) -> tuple[str, Node]:
    """Parse a pattern into its flags, such as ``i``, and its syntax tree.

    Raises:
        PatternError: It is invalid, or not regular, such as one with a backreference.
    """
    flags = ""
    if match := re.match(r"\(\?([a-z]+)\)", pattern):
        flags, pattern = match[1], pattern[match.end() :]
        if set(flags) - set("ius"):
            raise PatternError(f"the flags (?{flags}) are not supported")
    reader = _Reader(pattern, ANY if "s" in flags else DOT)
    node = reader.choice()
    if reader.peek():
        raise PatternError("an unmatched ')'")
    return flags.replace("u", "").replace("s", ""), node


class _Reader:
    def __init__(self, pattern: str, dot: CharSet) -> None:
        self._pattern = pattern
        self._position = 0
        self._dot = dot

    def peek(self, count: int = 1) -> str:
        return self._pattern[self._position : self._position + count]

    def _take(self, text: str) -> bool:
        taken = self._pattern.startswith(text, self._position)
        self._position += len(text) if taken else 0
        return taken

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        match = expression.match(self._pattern, self._position)
        self._position = match.end() if match else self._position
        return match

    def _next(self) -> str:
        if not self.peek():
            raise PatternError("it ends too early")
        self._position += 1
        return self._pattern[self._position - 1]

    def choice(self) -> Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, node: Node) -> Node:
        while True:
            if match := self._match(_TIMES):
                least = int(match[1])
                most = least if match[2] is None else int(match[3] or MANY)
            elif match := self._match(_OPEN):
                raise PatternError(f"{match[0]} without a number before the comma")
            elif self.peek() in ("*", "+", "?"):
                least, most = {"*": (0, MANY), "+": (1, MANY), "?": (0, 1)}[self._next()]
            else:
                return node
            if isinstance(node, Anchor | Look):
                raise PatternError("an anchor or a look around it that repeats")
            self._take("?") or self._take("+")
            node = Repeat(node, least, most)

    def _atom(self) -> Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._set()
        if character == ".":
            return self._dot
        if character in "^$":
            return Anchor(character == "^")
        if character in "*+?":
            raise PatternError(f"nothing before {character!r} to repeat")
        return self._escape() if character == "\\" else _char(ord(character))

    def _group(self) -> Node:
        head = ""
        if self.peek() == "?":
            match = self._match(_GROUP)
            head = match[1] or "" if match else ""
            if not head or head[0] in "abcdefghijklmnopqrstuvwxyz":
                raise PatternError(f"the group (?{head}{self.peek(3)}")
        node = self.choice()
        if not self._take(")"):
            raise PatternError("a '(' that is not closed")
        if head in ("=", "!", "<=", "<!"):
            return Look(node, "<" not in head, "!" in head)
        return node

    def _escape(self) -> Node:
        character = self._next()
        if character in "dwsDWS":
            return CharSet(named=(character,))
        if character in "AzZ":
            return Anchor(character == "A")
        if character in "bB":
            raise PatternError(f"the word boundary \\{character}")
        if character == "k" or character in "123456789":
            raise PatternError(f"the backreference \\{character}")
        self._position -= 1
        if match := self._match(_PROPERTY):
            return CharSet(properties=("\\" + match[0],))
        return _char(self._escaped())

    def _escaped(self) -> int:
        """Parse the character after a backslash, inside or outside a set."""
        if match := self._match(_HEX):
            return int(next(digits for digits in match.groups() if digits), 16)
        character = self._next()
        if character == "c" and self.peek().isalpha():
            return ord(self._next().upper()) - 64
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character.isalnum():
            raise PatternError(f"the escape \\{character}")
        return ord(character)

    def _set(self) -> Node:
        negated = self._take("^")
        intervals: list[tuple[int, int]] = []
        named: list[str] = []
        properties: list[str] = []
        if self.peek() == "]":
            raise PatternError("the set [], which dialects read in different ways")
        while not self._take("]"):
            intervals += self._span(named, properties)
        if any(letter.swapcase() in named for letter in named):  # such as [\s\S]
            return CharSet(negated=not negated)
        return CharSet(tuple(intervals), tuple(named), tuple(properties), negated)

    def _span(self, named: list[str], properties: list[str]) -> list[tuple[int, int]]:
        """Parse a character of a set, or a range; named sets are appended to their lists."""
        self._refuse_operators()
        low = high = self._member(named, properties)
        if self.peek() == "-" and self.peek(2) not in ("-]", "-"):
            self._refuse_operators()
            self._next()
            high = self._member(named, properties)
            if low is None or high is None:  # a named set bounds no range: the hyphen is a character
                return [(code, code) for code in (45, low, high) if code is not None]
        if low is None or high is None:
            return []
        if high < low:
            raise PatternError("a range that ends before it begins")
        return [(low, high)]

    def _refuse_operators(self) -> None:
        """Raise for set operations and nested sets, which other dialects parse as characters."""
        if self.peek(2) in ("&&", "--", "~~"):
            raise PatternError(f"{self.peek(2)!r} in a set, which dialects read in different ways")
        if self.peek() == "[" and _nests(self._pattern[self._position :]):
            raise PatternError("'[' in a set, which dialects read in different ways; write \\[ for the character")

    def _member(self, named: list[str], properties: list[str]) -> int | None:
        """Parse a character of a set; None for a named set, which is appended to its list."""
        character = self._next()
        if character != "\\":
            return ord(character)
        if self.peek() in tuple("dwsDWS"):
            named.append(self._next())
            return None
        if match := self._match(_PROPERTY):
            properties.append("\\" + match[0])
            return None
        if self._take("b"):
            return 8
        return self._escaped()


def _nests(rest: str) -> bool:
    """Whether a bracket in a set opens a nested set, that is, whether both are closed.

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
