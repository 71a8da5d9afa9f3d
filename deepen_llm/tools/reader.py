"""From an answer as it is written to what it says: text, and tool calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepen_llm.tools.calls import CallDelta, new_id
from deepen_llm.tools.formats import ToolFormat


@dataclass(frozen=True)
class Said:
    """Text for the reader of an answer."""

    text: str


@dataclass(frozen=True)
class Thought:
    """Text that a reasoning model writes before its answer."""

    text: str


Event = Said | Thought | CallDelta


class Reader(ABC):
    """Reads one answer while it is written."""

    @abstractmethod
    def feed(self, text: str) -> list[Event]:
        """Take the next characters, special tokens spelled out; what can be told by now."""

    @abstractmethod
    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        """Take a special token that stands in free text; what can be told by now.

        Args:
            mark: The character that stands for it in stop strings (see `Stops`).
            spelled: How it is written.
        """

    @abstractmethod
    def finish(self) -> list[Event]:
        """What is left once the answer has ended."""


class CallReader(Reader):
    """Reads the calls of a known format, whose layout the grammar has fixed.

    Args:
        form: The format.
        tools: Names of the tools that may be called.
    """

    def __init__(self, form: ToolFormat, tools: Sequence[str]) -> None:
        self._form = form
        self._first = {form.opening + form.head(tool): tool for tool in tools}
        self._further = {form.end + form.between + form.head(tool): tool for tool in tools}
        self._buffer, self._index, self._spoken = "", -1, False
        self._arguments: _Braces | None = None

    def feed(self, text: str) -> list[Event]:
        """See `Reader`."""
        self._buffer += text
        return list(self._read())

    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        """See `Reader`; the mark is read as one more character of the text."""
        return self.feed(mark)

    def finish(self) -> list[Event]:
        """See `Reader`."""
        left = "" if self._index >= 0 else self._buffer
        self._buffer = ""
        return [Said(left)] if left else []

    def _read(self) -> Iterator[Event]:
        while self._buffer:
            if self._arguments is not None:
                yield CallDelta(self._index, self._take(self._arguments.feed(self._buffer)))
                if self._arguments.open:
                    return
                self._arguments = None
            elif (found := self._find()) is not None:
                yield from self._open(*found)
            else:
                yield from self._say(self._ready())
                return

    def _open(self, head: str, place: int) -> Iterator[Event]:
        yield from self._say(len(self._buffer[:place].rstrip()))
        tool = self._heads[self._take(self._buffer.index(head) + len(head)).lstrip()]
        self._index, self._arguments = self._index + 1, _Braces()
        yield CallDelta(self._index, name=tool, id=new_id())

    def _say(self, count: int) -> Iterator[Event]:
        if text := self._take(count):
            self._spoken = self._spoken or not text.isspace()
            yield Said(text)

    @property
    def _heads(self) -> dict[str, str]:
        return self._first if self._index < 0 else self._further

    def _find(self) -> tuple[str, int] | None:
        """The next call's head and its place in the buffer."""
        places = {head: self._buffer.find(head) for head in self._heads}
        found = [(place, head) for head, place in places.items() if place >= 0 and self._may_open(place)]
        return (min(found)[1], min(found)[0]) if found else None

    def _may_open(self, place: int) -> bool:
        return not self._form.alone or not (self._spoken or self._buffer[:place].strip())

    def _ready(self) -> int:
        """How much of the buffer is text: no part of a head, nor of the space before one."""
        if self._index >= 0:
            return 0
        for start in range(len(self._buffer)):
            rest = self._buffer[start:].lstrip()
            if not rest or (self._may_open(start) and any(head.startswith(rest) for head in self._first)):
                return start
        return len(self._buffer)

    def _take(self, count: int) -> str:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class _Braces:
    """Finds the end of a JSON object."""

    def __init__(self) -> None:
        self._depth, self._in_string, self._escaped, self.open = 0, False, False, True

    def feed(self, text: str) -> int:
        """How many of the next characters belong to the object."""
        for place, character in enumerate(text):
            self._step(character)
            if not self.open:
                return place + 1
        return len(text)

    def _step(self, character: str) -> None:
        if self._in_string:
            self._escaped, ended = not self._escaped and character == "\\", not self._escaped and character == '"'
            self._in_string = not ended
        elif character == '"':
            self._in_string = True
        else:
            self._depth += (character == "{") - (character == "}")
            self.open = self._depth > 0 or character.isspace()
