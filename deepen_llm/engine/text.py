"""The text of an answer, joined from surfaces: complete characters, cut before a stop string."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence


class TextAssembler:
    """Joins the surfaces of one answer's tokens.

    Args:
        stop: Stop strings; the text ends before the one that is complete first.

    Attributes:
        text: All whole characters, cut before a stop string once one is complete.
        stopped: Whether the text has ended.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.text = ""
        self.stopped = False
        self._stop = stop
        self._marks = {character for string in stop for character in string if _is_mark(character)}
        self._marked, self._seen = "", 0  # the text with marks in it, and the number of marks
        self._shown = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")  # holds an unfinished character back

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished character are held back."""
        return len(self.unfinished)

    def feed(self, surface: bytes, *, final: bool = False) -> str:
        """Append a token's surface to the text; return the characters that it completed."""
        whole = self.decode(surface, final=final)
        self.append(whole)
        return whole

    def decode(self, surface: bytes, *, final: bool = False) -> str:
        """The characters that a token's surface completes, which are not appended to the text yet."""
        return self._utf8.decode(surface, final)

    @property
    def unfinished(self) -> bytes:
        """The bytes of an unfinished character that are held back."""
        return self._utf8.getstate()[0]

    def preview(self, surfaces: Sequence[bytes]) -> list[tuple[str, bytes]]:
        """For tokens that may come next: the characters that each completes, and the bytes of another begun."""
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        utf8.setstate(self._utf8.getstate())
        return [(utf8.decode(surface), utf8.getstate()[0]) for surface in surfaces]

    def append(self, characters: str) -> None:
        """Append characters to the text; nothing is appended once it has ended.

        Args:
            characters: The characters. Marks among them (see `Stops`) do not enter the text, but may be part of a stop
                string.
        """
        text = "".join(filter(_is_text, characters)) if self._marks else characters
        self.text += "" if self.stopped else text
        self._seen += len(characters) - len(text)
        self._search(characters)

    def stop(self) -> None:
        """End the text here."""
        self.stopped = True

    def release(self, *, final: bool = False) -> str:
        """The text that may be shown now: neither shown before, nor possibly part of a stop string."""
        end = len(self.text) if final or self.stopped else len(self.text) - self._held_back()
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _search(self, characters: str) -> None:
        """Cut the text before the first stop string that these characters complete."""
        if not self._stop or self.stopped:
            return
        before = len(self._marked)
        self._marked += characters
        spans = [span for stop in self._stop if (span := self._find(stop, before))]
        if spans:  # of the stop string that is complete first
            end = self._marked[min(spans)[1] :]
            self.text, self.stopped = self.text[: len(self.text) - _length(end)], True

    def _find(self, stop: str, before: int) -> tuple[int, int] | None:
        """Where a stop string ends and begins in the marked text, other marks between ignored; None if nowhere."""
        begin = max(0, before - len(stop) + 1 - self._seen)
        if not self._seen:
            start = self._marked.find(stop, begin)
            return (start + len(stop), start) if start >= 0 else None
        between = f"[{''.join(skipped)}]*" if (skipped := self._marks - set(stop)) else ""
        match = re.compile(between.join(map(re.escape, stop))).search(self._marked, begin)
        return (match.end(), match.start()) if match else None

    def _held_back(self) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        longest = max(map(len, self._stop), default=1) - 1
        sizes = range(min(longest + self._seen, len(self._marked)), 0, -1)
        ends = (self._marked[-n:] for n in sizes)
        return next((_length(end) for end in ends if any(self._begins(stop, end) for stop in self._stop)), 0)

    def _begins(self, stop: str, end: str) -> bool:
        """Whether an end of the marked text may become a stop string."""
        if self._seen:
            end = "".join(character for character in end if _is_text(character) or character in stop)
        return stop.startswith(end) and 0 < len(end) < len(stop)


def _is_mark(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"  # surrogates, which no text has


def _is_text(character: str) -> bool:
    return not _is_mark(character)


def _length(marked: str) -> int:
    """How many characters of a marked text are text."""
    return sum(map(_is_text, marked))
