"""A short end for an unfinished document: how a grammar comes to accept within few bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher

Piece = bytes | int
"""A run of bytes, or a special token's id."""

_LIMIT = 4096  # steps; longer ends count as none
_ENDING = b"}],:"  # what ends a JSON value
_LENGTHENING = b"[{\\ \n\t\r"
_PLAIN = b"0a@-.:/123456789ntf" + bytes(range(98, 123)) + bytes(range(65, 91))  # what formats want comes early
_OTHER = bytes(byte for byte in range(256) if byte not in _ENDING + _LENGTHENING + _PLAIN + b'"')


def closing(matcher: LLMatcher, size: int, spellable: Callable[[int], bool]) -> list[Piece] | None:
    """A short way from a matcher's state to the end of a document.

    Quotes and brackets close as soon as they may; of other bytes the one used least comes first, since the loop of a
    pattern such as ``(ab|b)*c`` is left only by trying them all.

    Args:
        matcher: Over the ids of special tokens, and ``size + byte`` for each byte; left as it is.
        size: Where the bytes' ids begin.
        spellable: Whether a byte may be used.

    Returns:
        What to append; None if no end is found.
    """
    matcher, path, used = matcher.deep_copy(), _Path(), Counter[int]()
    able = [byte for byte in _ENDING + _PLAIN + _OTHER + _LENGTHENING + b'"' if spellable(byte)]
    for _ in range(_LIMIT):
        if matcher.is_accepting():
            return path.pieces
        # compute_ff_bytes() would skip what is forced, but it breaks a matcher that a special token is forced in.
        chosen = _choose(matcher, size, able, used)
        if chosen is None or not matcher.consume_token(chosen):
            return None
        used[chosen] += 1
        path.append(chosen, size)
    return None


def _choose(matcher: LLMatcher, size: int, able: list[int], used: Counter[int]) -> int | None:
    """The next byte's id; a special token's where no byte may follow; None where neither may."""
    packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    may = np.unpackbits(packed[size >> 3 :], bitorder="little")[size & 7 :].tobytes()
    follows = [byte for byte in able if may[byte]]
    if not follows:
        special = np.unpackbits(packed, count=size, bitorder="little").nonzero()[0]
        return int(special[0]) if len(special) else None
    in_string = ord("q") in follows or not any(byte in _ENDING for byte in follows)
    if ord('"') in follows and in_string:
        return size + ord('"')
    ending = [byte for byte in follows if byte in _ENDING]
    if ending and not in_string:
        return size + ending[0]
    plain = [byte for byte in follows if byte not in _LENGTHENING]
    return min((size + byte for byte in plain or follows), key=lambda id_: used[id_])


class _Path:
    """Bytes and special tokens in order."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def append(self, id_: int, size: int) -> None:
        """Add a special token's id, or ``size`` and a byte."""
        last = self.pieces[-1] if self.pieces else None
        if id_ < size:
            self.pieces.append(id_)
        elif isinstance(last, bytes):
            self.pieces[-1] = last + bytes([id_ - size])
        else:
            self.pieces.append(bytes([id_ - size]))
