"""Characters that the patterns in a grammar require, in their order.

Grammars are in llguidance's Lark form, with JSON schemas after ``%json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from deepen_llm.structure.charsets import CharSet, Interval
from deepen_llm.structure.nodes import char_sets
from deepen_llm.structure.regex import PatternError, parse

_CANDIDATES = "a0A_-. @/:,;+=x1zZ!#$%&'()*<>?[]^`{|}~\"\\\n\téя中"  # members of character classes to choose from
_UPPER, _LOWER, _DIGITS, _UNDERSCORE = (65, 90), (97, 122), (48, 57), (95, 95)
_UNICODE: dict[str, tuple[Interval, ...]] = {  # some characters of Unicode properties
    "Lu": (_UPPER,), "Ll": (_LOWER,), "L": (_UPPER, _LOWER), "Alphabetic": (_UPPER, _LOWER), "N": (_DIGITS,),
    "Pc": (_UNDERSCORE,), "P": ((33, 47), (58, 64)),
}  # fmt: skip
_OTHERS: tuple[Interval, ...] = ((32, 47),)  # some characters outside each of them


class Atom(NamedTuple):
    """A character that a pattern requires.

    Attributes:
        pattern: The index of the pattern.
        position: Its position in the pattern.
        written: The character, escaped as in a JSON string; for a class of characters, a member.
    """

    pattern: int
    position: int
    written: bytes


def atoms(lark: str) -> list[Atom]:
    """List the characters of every pattern in a grammar's JSON schemas."""
    patterns = dict.fromkeys(pattern for together, _ in strings(lark) for pattern in together)
    return [
        Atom(number, position, json.dumps(character, ensure_ascii=False)[1:-1].encode())
        for number, pattern in enumerate(patterns)
        for position, character in enumerate(characters(pattern))
    ]


def strings(lark: str) -> list[tuple[tuple[str, ...], int]]:
    """List the patterns of each string and property name in a grammar's JSON schemas, with the least length."""
    return list(dict.fromkeys(string for schema in _schemas(lark) for string in _strings(schema)))


def _schemas(lark: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    for start in re.finditer("%json ", lark):
        yield decoder.raw_decode(lark, start.end())[0]


def _strings(schema: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(schema, list):
        for part in schema:
            yield from _strings(part)
    elif isinstance(schema, dict):
        parts = [schema, *(part for part in schema.get("allOf") or () if isinstance(part, dict))]
        if found := tuple(part["pattern"] for part in parts if isinstance(part.get("pattern"), str)):
            least = (part.get("minLength") for part in parts)
            yield found, max((size for size in least if isinstance(size, int)), default=0)
        for key, value in schema.items():
            yield from (((name,), 0) for name in value if key == "patternProperties") if isinstance(value, dict) else ()
            yield from _strings(value)


def characters(pattern: str) -> list[str]:
    """List the characters that a regular expression requires, in order: literal ones, and a member of each class.

    Args:
        pattern: The regular expression; one that is not supported has none.
    """
    try:
        return [chosen for letters in char_sets(parse(pattern)[1]) if (chosen := member(letters))]
    except (PatternError, RecursionError):
        return []


def member(letters: CharSet) -> str:
    """Choose a member of a set, a plain one if it has several; empty if it has several and none is plain."""
    some = (interval for name in letters.properties for interval in _some_of(name))
    known = replace(letters, properties=(), intervals=(*letters.intervals, *some)).widest() or []
    only = known[0][0] if len(known) == 1 and known[0][0] == known[0][1] else None
    return plain_member(known) if only is None else chr(only)


def plain_member(intervals: Iterable[Interval]) -> str:
    """Choose the plainest character within intervals; empty if they have no plain one."""
    known = list(intervals)
    return next((one for one in _CANDIDATES if any(low <= ord(one) <= high for low, high in known)), "")


def _some_of(written: str) -> tuple[Interval, ...]:
    r"""Some characters of a Unicode property as written, such as ``\p{Lu}``."""
    name = written[2:].strip("{}")
    return _OTHERS if written[1] == "P" else _UNICODE.get(name) or _UNICODE.get(name[:1], ())
