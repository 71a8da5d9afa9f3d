"""Regions of a JSON document, and the bytes that may follow in a matcher's state."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llguidance import LLMatcher

ENDING = b"}],:"  # the bytes after a key or a value
_BYTES = (1 << 256) - 1
_ENDING = sum(1 << byte for byte in ENDING)


class Region(IntEnum):
    """The region of a JSON document in which a text ends."""

    OUTSIDE = 0
    INSIDE = 1  # inside a string
    ESCAPED = 2  # after a backslash in a string

    def after(self, text: bytes) -> Region:
        """Compute the region after more text."""
        region = self
        for byte in text:
            if region is Region.ESCAPED:
                region = Region.INSIDE
            elif byte == ord('"'):
                region = Region.OUTSIDE if region is Region.INSIDE else Region.INSIDE
            elif byte == ord("\\") and region is Region.INSIDE:
                region = Region.ESCAPED
        return region

    def opened(self, text: bytes) -> int:
        """Count the brackets that a text in this region opens and does not close."""
        region, opened = self, 0
        for byte in text:
            if region is Region.OUTSIDE:
                opened += (byte in b"{[") - (byte in b"}]")
            region = region.after(bytes([byte]))
        return opened


class Look(NamedTuple):
    """The bytes that a matcher allows next.

    Attributes:
        bytes: A bit for each byte that may follow.
        accepting: Whether the document may end here.
    """

    bytes: int
    accepting: bool

    @classmethod
    def at(cls, matcher: LLMatcher, size: int) -> Look:
        """Read the allowed bytes of a matcher.

        Args:
            matcher: The matcher.
            size: The id of the first byte.
        """
        packed = matcher.compute_bitmask()[size >> 3 : (size >> 3) + 33]
        return cls(int.from_bytes(packed, "little") >> (size & 7) & _BYTES, matcher.is_accepting())

    def may(self, byte: int) -> bool:
        """Whether a byte may follow."""
        return bool(self.bytes >> byte & 1)

    def ends(self, region: Region) -> bool:
        """Whether the document, a key or a value may end here, or only a special token may follow."""
        return self.accepting or not self.bytes or (region is Region.OUTSIDE and bool(self.bytes & _ENDING))
