"""Visible signs for invisible characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_UNSEEN = re.compile(
    r"""(?P<line>\n) | (?P<tab>\t)
    # a run of spaces, one before a line's end, and every space other than U+0020
    | (?P<space>(?<=[ ])[ ] | [ ](?=[ \n]) | [\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000])
    # controls, characters without width, and bidirectional overrides; not joiners and direction marks, which occur in
    # regular right-to-left text
    | (?P<mark>[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb])""",
    re.VERBOSE,
)
_SIGNS = {"line": "↵", "tab": "⇥"}


class Segment(NamedTuple):
    """A part of a text.

    Attributes:
        text: Its characters.
        kind: ``text``, ``line``, ``tab``, ``space`` or ``mark``.
        sign: The sign of an invisible character; empty for text and spaces.
    """

    text: str
    kind: str
    sign: str


def segments(texts: Sequence[str]) -> list[list[Segment]]:
    r"""Split each of several consecutive texts at its invisible characters.

    >>> [[(part.kind, part.text) for part in parts] for parts in segments(["a ", " b", "\n"])]
    [[('text', 'a'), ('space', ' ')], [('space', ' '), ('text', 'b')], [('line', '\n')]]
    """
    whole, start, parts = "".join(texts), 0, list[list[Segment]]()
    unseen = {match.start(): match.lastgroup or "" for match in _UNSEEN.finditer(whole)}
    for text in texts:
        parts.append(_split(text, {i: unseen[start + i] for i in range(len(text)) if start + i in unseen}))
        start += len(text)
    return parts


def label(text: str) -> str:
    r"""Format a token's text on its own, with signs for spaces and line breaks.

    >>> label(" the\n")
    '␣the↵'
    """
    spaced = re.sub(r"^ +| +$", lambda run: "␣" * len(run[0]), text)
    return _UNSEEN.sub(lambda unseen: _sign(unseen[0], unseen.lastgroup or "") or unseen[0], spaced)


def _split(text: str, unseen: dict[int, str]) -> list[Segment]:
    parts, end = list[Segment](), 0
    for position, kind in unseen.items():
        if end < position:
            parts.append(Segment(text[end:position], "text", ""))
        parts.append(Segment(text[position], kind, _sign(text[position], kind)))
        end = position + 1
    return [*parts, Segment(text[end:], "text", "")] if end < len(text) else parts


def _sign(character: str, kind: str) -> str:
    if kind != "mark":
        return _SIGNS.get(kind, "")
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"U+{code:04X}"  # Unicode has pictures of control characters
