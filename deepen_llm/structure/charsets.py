r"""Sets of characters in patterns, as the dialects of regular expressions read them.

``\d``, ``\w`` and ``\s`` mean ASCII in some dialects and all of Unicode in others, and a set is read by all. So each
has a narrow and a wide meaning, and a set is written such that what it takes is in the set by either.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

LAST = 0x10FFFF
Interval = tuple[int, int]

_SPACES: tuple[Interval, ...] = ((9, 13), (32, 32))
_WIDE_SPACES: tuple[Interval, ...] = (
    (9, 13), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_DIGITS: tuple[Interval, ...] = ((48, 57),)
_WORDS: tuple[Interval, ...] = ((48, 57), (65, 90), (95, 95), (97, 122))
_BEYOND: tuple[Interval, ...] = ((128, LAST),)  # what Unicode adds, and more
_PLAIN = " !\"%',:;<=>@_`"  # what no dialect reads as anything else, in a set or outside
_ESCAPED = (34, 92)  # the quote and the backslash
_NARROW = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_WIDE = {"d": _DIGITS + _BEYOND, "w": _WORDS + _BEYOND, "s": _WIDE_SPACES}
_WIDE_TEXT = {
    "d": r"\p{Nd}",
    "w": r"\p{Alphabetic}\p{M}\p{N}\p{Pc}\p{Join_Control}",
    "s": r"\s\x1C-\x1F\uFEFF",
}


@dataclass(frozen=True)
class CharSet:
    r"""The characters that one place of a pattern takes.

    Attributes:
        intervals: Characters, from and to.
        named: Letters of ``\d``, ``\w``, ``\s`` and, as capitals, of their complements.
        properties: Unicode properties as written, such as ``\p{L}``.
        negated: Whether it takes all others.
    """

    intervals: tuple[Interval, ...] = ()
    named: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    negated: bool = False

    def text(self) -> str:
        """The set in the grammar library's own dialect, by the narrow meaning."""
        return _written(self._escapable())

    def _escapable(self) -> CharSet:
        """The set without NUL, where it excludes the quote or the backslash.

        JSON escapes control characters, quotes and backslashes; of a set that has all control characters the grammar
        library allows every escape.
        """
        if self.negated:
            bars = any(_within(code, self.intervals) for code in _ESCAPED)
            return replace(self, intervals=(*self.intervals, (0, 0))) if bars else self
        whole = all(_within(code, self.intervals) for code in range(32) if code != 10)
        if not whole or all(_within(code, self.intervals) for code in _ESCAPED):
            return self
        return replace(self, intervals=tuple(common(list(self.intervals), [(1, LAST)])))

    def widest(self) -> list[Interval] | None:
        """The characters that are in the set by any meaning; None where properties make that unknown."""
        if self.properties:
            return None
        if self == DOT:
            return [(0, LAST)]
        found = list(self.intervals)
        for letter in self.named:
            capital, table = letter.isupper(), (_NARROW, _WIDE)
            own = table[self.negated == capital][letter.lower()]
            found += complement(list(own)) if capital else own
        return complement(found) if self.negated else joined(found)


def _written(letters: CharSet) -> str:
    if not (letters.named or letters.properties or letters.negated) and len(letters.intervals) == 1:
        low, high = letters.intervals[0]
        if low == high:
            return _one(low)
    if not (letters.intervals or letters.named or letters.properties):
        return r"[\x00-\U0010FFFF]" if letters.negated else r"[^\x00-\U0010FFFF]"
    alone = len(letters.named) == 1 and not (letters.intervals or letters.properties or letters.negated)
    if alone and letters.named[0].isupper():
        return f"[^{_WIDE_TEXT[letters.named[0].lower()]}]"
    parts = [_range(low, high) for low, high in letters.intervals]
    parts.extend(_named(letter, wide=letters.negated) for letter in letters.named)
    return f"[{'^' if letters.negated else ''}{''.join((*parts, *letters.properties))}]"


DOT = CharSet(((10, 10), (13, 13), (0x2028, 0x2029)), negated=True)
"""What ``.`` takes: JavaScript excludes the most."""


def _range(low: int, high: int) -> str:
    return _one(low) if low == high else f"{_one(low)}-{_one(high)}"


def _one(code: int) -> str:
    """A character, escaped as both Rust and Python read it."""
    if chr(code).isalnum() or chr(code) in _PLAIN:
        return chr(code)
    if 33 <= code < 127:
        return "\\" + chr(code)
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"


def _named(letter: str, wide: bool) -> str:
    """A named set inside another, with no set in it, which dialects read in different ways."""
    inner = letter.lower()
    if letter.islower():
        return _WIDE_TEXT[inner] if wide else "".join(_range(*one) for one in _NARROW[inner])
    if inner == "d" and not wide:
        return r"\P{Nd}"
    return "".join(_range(*one) for one in complement(list((_NARROW if wide else _WIDE)[inner])))


def _within(code: int, intervals: tuple[Interval, ...]) -> bool:
    return any(low <= code <= high for low, high in intervals)


def joined(intervals: list[Interval]) -> list[Interval]:
    """The same characters in order, with no overlap."""
    found: list[Interval] = []
    for low, high in sorted(intervals):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def complement(intervals: list[Interval]) -> list[Interval]:
    """All other characters."""
    found, start = [], 0
    for low, high in joined(intervals):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    return [*found, (start, LAST)] if start <= LAST else found


def common(some: list[Interval], others: list[Interval]) -> list[Interval]:
    """The characters of both."""
    return [(max(a, c), min(b, d)) for (a, b), (c, d) in itertools.product(some, others) if max(a, c) <= min(b, d)]
