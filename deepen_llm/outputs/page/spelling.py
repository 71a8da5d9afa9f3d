"""Characters that cannot be seen, made visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_UNSEEN = re.compile(
    r"""(?P<line>\n) | (?P<tab>\t)
    # a run of spaces, one before a line's end, and every space but the common one
    | (?P<space>(?<=[ ])[ ] | [ ](?=[ \n]) | [\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000])
    # controls, what has no width, and what would turn the text around it; not what letters need to join, or direction
    # marks, which well-made right-to-left text has
    | (?P<mark>[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb])""",
    re.VERBOSE,
)
_SIGNS = {"line": "↵", "tab": "⇥"}


class Segment(NamedTuple):
    """A part of a text.

    Attributes:
        text: Its characters.
        kind: ``text``, ``line``, ``tab``, ``space`` or ``mark``.
        sign: What stands for an unseen character; empty for text and spaces.
    """

    text: str
    kind: str
    sign: str


def segments(texts: Sequence[str]) -> list[list[Segment]]:
    r"""Parts of each of several texts that follow each other, unseen characters apart.

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
    r"""A token's text where it stands alone: spaces and line breaks as signs.

    >>> label(" the\n")
    '␣the↵'
    """
    spaced = re.sub(r"^ +| +$", lambda run: "␣" * len(run[0]), text)
    return _UNSEEN.sub(lambda unseen: _sign(unseen[0], unseen.lastgroup or "") or unseen[0], spaced)


def _split(text: str, unseen: dict[int, str]) -> list[Segment]:
    parts, seen = list[Segment](), 0
    for place, kind in unseen.items():
        if seen < place:
            parts.append(Segment(text[seen:place], "text", ""))
        parts.append(Segment(text[place], kind, _sign(text[place], kind)))
        seen = place + 1
    return [*parts, Segment(text[seen:], "text", "")] if seen < len(text) else parts


def _sign(character: str, kind: str) -> str:
    if kind != "mark":
        return _SIGNS.get(kind, "")
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"U+{code:04X}"  # control characters have pictures of their own
