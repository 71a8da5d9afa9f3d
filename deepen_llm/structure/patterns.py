"""What the patterns in a grammar are written of: the characters that an end may need, in their order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

CANDIDATES = "a0A_-. @/:,;+=x1zZ!#$%&'()*<>?[]^`{|}~\"\\\n\téя中"  # one of these stands for a class of characters
_PART = re.compile(
    r"""\\[pP](?:\{[^}]*\}|\w) | \\x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2}) | \\u(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{4})
    | \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?(?:P?<\w+>|[a-z-]*:?) | \{\d*,?\d*\}[?+]? | .""",
    re.DOTALL | re.VERBOSE,
)
_UNICODE = {"Lu": "A-Z", "Ll": "a-z", "L": "A-Za-z", "Alphabetic": "A-Za-z", "N": "0-9", "Pc": "_", "P": "!-/:-@"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


class Atom(NamedTuple):
    """A character that a pattern asks for.

    Attributes:
        pattern: The number of the pattern.
        place: Where in the pattern it stands.
        written: The character as a JSON string has it; for a class of characters, one of them.
    """

    pattern: int
    place: int
    written: bytes


def atoms(lark: str) -> list[Atom]:
    """The characters of every pattern in a grammar's JSON schemas.

    Args:
        lark: A grammar in llguidance's Lark form, its schemas behind ``%json``.
    """
    found = dict.fromkeys(pattern for schema in _schemas(lark) for pattern in _patterns(schema))
    return [
        Atom(number, place, json.dumps(character, ensure_ascii=False)[1:-1].encode())
        for number, pattern in enumerate(found)
        for place, character in enumerate(characters(pattern))
    ]


def strings(lark: str) -> list[tuple[tuple[str, ...], int]]:
    """The patterns of each string and property name of a grammar's JSON schemas, and the least length.

    Args:
        lark: A grammar in llguidance's Lark form, its schemas behind ``%json``.
    """
    return list(dict.fromkeys(one for schema in _schemas(lark) for one in _strings(schema)))


def _schemas(lark: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    for start in re.finditer("%json ", lark):
        yield decoder.raw_decode(lark, start.end())[0]


def _strings(schema: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(schema, list):
        for one in schema:
            yield from _strings(one)
    elif isinstance(schema, dict):
        parts = [schema, *(one for one in schema.get("allOf") or () if isinstance(one, dict))]
        if found := tuple(one["pattern"] for one in parts if isinstance(one.get("pattern"), str)):
            least = (one.get("minLength") for one in parts)
            yield found, max((size for size in least if isinstance(size, int)), default=0)
        for key, value in schema.items():
            yield from (((name,), 0) for name in value if key == "patternProperties") if isinstance(value, dict) else ()
            yield from _strings(value)


def characters(pattern: str) -> list[str]:
    """The characters that a regular expression asks for, in order: literal ones, and one of each class.

    Args:
        pattern: The regular expression.
    """
    read = (_character(part) for part in _PART.findall(pattern))
    return [character for character in read if character]


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _patterns(one)
    elif isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        for key, value in schema.items():
            yield from value if key == "patternProperties" and isinstance(value, dict) else ()
            yield from _patterns(value)


def _character(part: str) -> str | None:
    """What a part of a pattern asks for; None where it asks for no character of its own."""
    if part[0] == "[" or re.match(r"\\[dDwWsSpP]", part):
        return _member(part)
    if part[:2] in {r"\x", r"\u"} and len(part) > 2:
        return chr(int(part[2:].strip("{}"), 16))
    if part[0] == "\\":
        return None if part[1:] in set("bBAzZ") else _CONTROLS.get(part[1:], part[1:])
    return part if len(part) == 1 and part not in "^$.|?*+()" else None


def _member(characters: str) -> str | None:
    """A member of a class of characters; None where none is known."""
    inner = re.sub(r"\\p(?:\{(\w+)\}|(\w))", lambda name: _unicode(name[1] or name[2]), characters)
    inner = re.sub(r"\\P(?:\{\w+\}|\w)", " -/", inner)
    inner = inner[1:-1] if inner.startswith("[") else inner
    if re.search(r"--|&&|~~|\|\|", inner):  # a set operation that Python does not know: members are found by trying
        return None
    try:
        known = re.compile("[" + re.sub(r"(?<!\\)\[", r"\\[", inner) + "]")
    except re.error:  # an escape that Python does not know
        return None
    return next((one for one in CANDIDATES if known.fullmatch(one)), None)


def _unicode(name: str) -> str:
    return _UNICODE.get(name) or _UNICODE.get(name[:1], "")
