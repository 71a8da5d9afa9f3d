"""From surfaces to text that may be shown: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextAssembler:
    """Puts one answer's text together.

    Args:
        stop: Stop strings; the text ends before the one that is complete first.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.text = ""  # all whole characters, cut before a stop string once one has appeared
        self.stopped = False
        self._stop = stop
        self._shown = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")  # holds an unfinished character back

    @property
    def mid_character(self) -> bool:
        """Whether the last bytes are an unfinished character."""
        return self.pending > 0

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished character are held back."""
        return len(self._utf8.getstate()[0])

    def feed(self, surface: bytes, *, final: bool = False) -> str:
        """Take a token's surface as text; return the characters that it completed."""
        whole = self.decode(surface, final=final)
        self.say(whole)
        return whole

    def decode(self, surface: bytes, *, final: bool = False) -> str:
        """The characters that a token's surface completes, not yet taken as text."""
        return self._utf8.decode(surface, final)

    def preview(self, surfaces: Sequence[bytes]) -> list[tuple[str, bool]]:
        """For tokens that may come next: the characters that each completes, and whether it ends inside another."""
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        utf8.setstate(self._utf8.getstate())
        return [(utf8.decode(surface), bool(utf8.getstate()[0])) for surface in surfaces]

    def say(self, characters: str) -> None:
        """Take characters as text."""
        before = len(self.text)
        self.text += characters
        self._cut(before)

    def release(self, *, final: bool = False) -> str:
        """The text that may be shown now: neither shown before, nor possibly part of a stop string."""
        end = len(self.text) if final or self.stopped else len(self.text) - self._held_back()
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _cut(self, before: int) -> None:
        starts = [(self.text.find(stop, max(0, before - len(stop) + 1)), len(stop)) for stop in self._stop]
        found = [(start + length, start) for start, length in starts if start >= 0]
        if found:  # the one that is complete first, whatever the tokens
            self.text, self.stopped = self.text[: min(found)[1]], True

    def _held_back(self) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        longest = max(map(len, self._stop), default=1) - 1
        sizes = range(min(longest, len(self.text)), 0, -1)
        return next((n for n in sizes if any(stop.startswith(self.text[-n:]) for stop in self._stop)), 0)
