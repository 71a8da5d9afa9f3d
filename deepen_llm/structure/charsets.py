r"""Character sets of regular expressions, restricted to what all dialects agree on.

``\d``, ``\w`` and ``\s`` mean ASCII in some dialects and all of Unicode in others. So each has a narrow and a wide
meaning, and a set is formatted such that each of its characters is in the set by either meaning.
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
_BEYOND: tuple[Interval, ...] = ((128, LAST),)  # a superset of what Unicode adds
_PLAIN = " !\"%',:;<=>@_`"  # without special meaning in all dialects, in a set and outside
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
    r"""The characters that match at one position of a pattern.

    Attributes:
        intervals: Ranges of code points, first and last.
        named: Letters of ``\d``, ``\w``, ``\s`` and, as capitals, of their complements.
        properties: Unicode properties as written, such as ``\p{L}``.
        negated: Whether all other characters match.
    """

    intervals: tuple[Interval, ...] = ()
    named: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    negated: bool = False

    def text(self) -> str:
        """Format the set in the dialect of llguidance, by the narrow meaning."""
        return _written(self._escapable())

    def _escapable(self) -> CharSet:
        """The set without NUL, where it excludes the quote or the backslash.

        JSON escapes control characters, quotes and backslashes; in a set with all control characters, llguidance allows
        every escape.
        """
        if self.negated:
            excludes_escaped = any(_within(code, self.intervals) for code in _ESCAPED)
            return replace(self, intervals=(*self.intervals, (0, 0))) if excludes_escaped else self
        whole = all(_within(code, self.intervals) for code in range(32) if code != 10)
        if not whole or all(_within(code, self.intervals) for code in _ESCAPED):
            return self
        return replace(self, intervals=tuple(common(list(self.intervals), [(1, LAST)])))

    def widest(self) -> list[Interval] | None:
        """The characters that are in the set by either meaning; None if the set has Unicode properties."""
        if self.properties:
            return None
        if self == DOT:
            return [(0, LAST)]
        intervals = list(self.intervals)
        for letter in self.named:
            capital = letter.isupper()
            named = (_NARROW, _WIDE)[self.negated == capital][letter.lower()]
            intervals += complement(list(named)) if capital else named
        return complement(intervals) if self.negated else joined(intervals)


def _written(letters: CharSet) -> str:
    if not (letters.named or letters.properties or letters.negated) and len(letters.intervals) == 1:
        low, high = letters.intervals[0]
        if low == high:
            return _character(low)
    if not (letters.intervals or letters.named or letters.properties):
        return r"[\x00-\U0010FFFF]" if letters.negated else r"[^\x00-\U0010FFFF]"
    alone = len(letters.named) == 1 and not (letters.intervals or letters.properties or letters.negated)
    if alone and letters.named[0].isupper():
        return f"[^{_WIDE_TEXT[letters.named[0].lower()]}]"
    parts = [_range(low, high) for low, high in letters.intervals]
    parts.extend(_named_set(letter, wide=letters.negated) for letter in letters.named)
    return f"[{'^' if letters.negated else ''}{''.join((*parts, *letters.properties))}]"


DOT = CharSet(((10, 10), (13, 13), (0x2028, 0x2029)), negated=True)
"""The set of ``.``, without all characters that any dialect excludes (JavaScript excludes the most)."""


def _range(low: int, high: int) -> str:
    return _character(low) if low == high else f"{_character(low)}-{_character(high)}"


def _character(code: int) -> str:
    """Format a character, escaped for both Rust and Python."""
    if chr(code).isalnum() or chr(code) in _PLAIN:
        return chr(code)
    if 33 <= code < 127:
        return "\\" + chr(code)
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"


def _named_set(letter: str, wide: bool) -> str:
    """Format a named set as ranges, since dialects differ on sets within sets."""
    inner = letter.lower()
    if letter.islower():
        return _WIDE_TEXT[inner] if wide else "".join(_range(*interval) for interval in _NARROW[inner])
    if inner == "d" and not wide:
        return r"\P{Nd}"
    return "".join(_range(*interval) for interval in complement(list((_NARROW if wide else _WIDE)[inner])))


def _within(code: int, intervals: tuple[Interval, ...]) -> bool:
    return any(low <= code <= high for low, high in intervals)


def joined(intervals: list[Interval]) -> list[Interval]:
    """Sort intervals and merge those that overlap or touch."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def complement(intervals: list[Interval]) -> list[Interval]:
    """The intervals of all other characters."""
    gaps, start = [], 0
    for low, high in joined(intervals):
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    return [*gaps, (start, LAST)] if start <= LAST else gaps


def common(some: list[Interval], others: list[Interval]) -> list[Interval]:
    """The intervals of the characters that two sets share."""
    return [(max(a, c), min(b, d)) for (a, b), (c, d) in itertools.product(some, others) if max(a, c) <= min(b, d)]
