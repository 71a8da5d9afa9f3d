"""Characters that the patterns in a grammar require, in their order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

CANDIDATES = "a0A_-. @/:,;+=x1zZ!#$%&'()*<>?[]^`{|}~\"\\\n\téя中"  # members of character classes to choose from
_PART = re.compile(
    r"""\\[pP](?:\{[^}]*\}|\w) | \\x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2}) | \\u(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{4})
    | \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?(?:P?<\w+>|[a-z-]*:?) | \{\d*,?\d*\}[?+]? | .""",
    re.DOTALL | re.VERBOSE,
)
_UNICODE = {"Lu": "A-Z", "Ll": "a-z", "L": "A-Za-z", "Alphabetic": "A-Za-z", "N": "0-9", "Pc": "_", "P": "!-/:-@"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


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
    """List the characters of every pattern in a grammar's JSON schemas.

    Args:
        lark: A grammar in llguidance's Lark form, its schemas after ``%json``.
    """
    patterns = dict.fromkeys(pattern for schema in _schemas(lark) for pattern in _patterns(schema))
    return [
        Atom(number, position, json.dumps(character, ensure_ascii=False)[1:-1].encode())
        for number, pattern in enumerate(patterns)
        for position, character in enumerate(characters(pattern))
    ]


def strings(lark: str) -> list[tuple[tuple[str, ...], int]]:
    """List the patterns of each string and property name in a grammar's JSON schemas, with the least length.

    Args:
        lark: A grammar in llguidance's Lark form, its schemas after ``%json``.
    """
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
        pattern: The regular expression.
    """
    read = (_character(part) for part in _PART.findall(pattern))
    return [character for character in read if character]


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _patterns(part)
    elif isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        for key, value in schema.items():
            yield from value if key == "patternProperties" and isinstance(value, dict) else ()
            yield from _patterns(value)


def _character(part: str) -> str | None:
    """The character that a part of a pattern requires; None if it requires none."""
    if part[0] == "[" or re.match(r"\\[dDwWsSpP]", part):
        return _member(part)
    if part[:2] in {r"\x", r"\u"} and len(part) > 2:
        return chr(int(part[2:].strip("{}"), 16))
    if part[0] == "\\":
        return None if part[1:] in set("bBAzZ") else _CONTROLS.get(part[1:], part[1:])
    return part if len(part) == 1 and part not in "^$.|?*+()" else None


def _member(characters: str) -> str | None:
    """A member of a class of characters; None if none of the candidates is one."""
    inner = re.sub(r"\\p(?:\{(\w+)\}|(\w))", lambda name: _unicode(name[1] or name[2]), characters)
    inner = re.sub(r"\\P(?:\{\w+\}|\w)", " -/", inner)
    inner = inner[1:-1] if inner.startswith("[") else inner
    if re.search(r"--|&&|~~|\|\|", inner):  # a set operation that Python does not support
        return None
    try:
        known = re.compile("[" + re.sub(r"(?<!\\)\[", r"\\[", inner) + "]")
    except re.error:  # an escape that Python does not support
        return None
    return next((candidate for candidate in CANDIDATES if known.fullmatch(candidate)), None)


def _unicode(name: str) -> str:
    return _UNICODE.get(name) or _UNICODE.get(name[:1], "")
