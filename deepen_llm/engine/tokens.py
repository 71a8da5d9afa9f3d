"""A token of a sequence, and what is known of a boundary at which the next one is chosen."""

from __future__ import annotations

from typing import NamedTuple


class Token(NamedTuple):
    """A main-model token, as the members read it.

    Attributes:
        id: Its id in the main model's vocabulary; members with that vocabulary append it.
        piece: The characters that it completes; members with another vocabulary append these.
    """

    id: int
    piece: str


class Boundary(NamedTuple):
    """What is known of a token boundary before any member is read there.

    Attributes:
        unfinished: The first bytes of a character with which the text ends; empty elsewhere. Only the main model has
            read them.
        special: Whether the next token is given, and is a special token without a counterpart in other vocabularies.
        answer_bytes: Number of bytes of the answer so far, where the prompt's end is healed; else None.
    """

    unfinished: bytes = b""
    special: bool = False
    answer_bytes: int | None = None
