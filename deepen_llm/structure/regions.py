"""Where in a JSON document a text ends, and what may follow there."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llguidance import LLMatcher

ENDING = b"}],:"  # what follows a key or a value
_BYTES = (1 << 256) - 1
_ENDING = sum(1 << byte for byte in ENDING)


class Region(IntEnum):
    """Where in a JSON document a text ends."""

    OUTSIDE = 0
    INSIDE = 1  # a string
    ESCAPED = 2  # behind a backslash in a string

    def after(self, text: bytes) -> Region:
        """The place behind more text."""
        place = self
        for byte in text:
            if place is Region.ESCAPED:
                place = Region.INSIDE
            elif byte == ord('"'):
                place = Region.OUTSIDE if place is Region.INSIDE else Region.INSIDE
            elif byte == ord("\\") and place is Region.INSIDE:
                place = Region.ESCAPED
        return place

    def opened(self, text: bytes) -> int:
        """How many more brackets stand open behind a text that starts here."""
        place, opened = self, 0
        for byte in text:
            if place is Region.OUTSIDE:
                opened += (byte in b"{[") - (byte in b"}]")
            place = place.after(bytes([byte]))
        return opened


class Look(NamedTuple):
    """What a matcher lets follow.

    Attributes:
        bytes: A bit for each byte that may follow.
        accepting: Whether the document may end here.
    """

    bytes: int
    accepting: bool

    @classmethod
    def at(cls, matcher: LLMatcher, size: int) -> Look:
        """Look at a matcher.

        Args:
            matcher: The matcher.
            size: Where the bytes' ids begin.
        """
        packed = matcher.compute_bitmask()[size >> 3 : (size >> 3) + 33]
        return cls(int.from_bytes(packed, "little") >> (size & 7) & _BYTES, matcher.is_accepting())

    def may(self, byte: int) -> bool:
        """Whether this byte may follow."""
        return bool(self.bytes >> byte & 1)

    def ends(self, place: Region) -> bool:
        """Whether the document may end here, or a key or value, or only a special token may follow."""
        return self.accepting or not self.bytes or (place is Region.OUTSIDE and bool(self.bytes & _ENDING))
