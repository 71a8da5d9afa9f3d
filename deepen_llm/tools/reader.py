"""Parsers of answers: text, reasoning and tool calls, while the answer is generated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from typing_extensions import override

from deepen_llm.tools.calls import CallDelta, new_id
from deepen_llm.tools.formats import ToolFormat


@dataclass(frozen=True)
class AnswerText:
    """Text of the answer."""

    text: str


@dataclass(frozen=True)
class ReasoningText:
    """Text that a reasoning model writes before its answer."""

    text: str


Event = AnswerText | ReasoningText | CallDelta


class Reader(ABC):
    """Parses one answer while it is generated."""

    @abstractmethod
    def feed(self, text: str) -> list[Event]:
        """Parse the next characters, with special tokens by their spelling; return the events known so far."""

    @abstractmethod
    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        """Parse a special token in free text; return the events known so far.

        Args:
            mark: The character that represents the token in stop strings (see `Stops`).
            spelled: The spelling of the token.
        """

    @abstractmethod
    def finish(self) -> list[Event]:
        """Return the remaining events after the end of the answer."""


class CallReader(Reader):
    """Parses the calls of a known format, whose layout the grammar enforces.

    Args:
        form: The format.
        tools: Names of the tools that may be called.
    """

    def __init__(self, form: ToolFormat, tools: Sequence[str]) -> None:
        self._form = form
        self._first = {form.opening + form.head(tool): tool for tool in tools}
        self._further = {form.end + form.between + form.head(tool): tool for tool in tools}
        self._buffer = ""
        self._index = -1
        self._has_text = False
        self._arguments: _Braces | None = None

    @override
    def feed(self, text: str) -> list[Event]:
        self._buffer += text
        return list(self._read())

    @override
    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        return self.feed(mark)  # a character of the text

    @override
    def finish(self) -> list[Event]:
        left = "" if self._index >= 0 else self._buffer
        self._buffer = ""
        return [AnswerText(left)] if left else []

    def _read(self) -> Iterator[Event]:
        while self._buffer:
            if self._arguments is not None:
                yield CallDelta(self._index, self._take(self._arguments.feed(self._buffer)))
                if self._arguments.open:
                    return
                self._arguments = None
            elif (match := self._find()) is not None:
                yield from self._open(*match)
            else:
                yield from self._say(self._ready())
                return

    def _open(self, head: str, position: int) -> Iterator[Event]:
        yield from self._say(len(self._buffer[:position].rstrip()))
        tool = self._heads[self._take(self._buffer.index(head) + len(head)).lstrip()]
        self._index, self._arguments = self._index + 1, _Braces()
        yield CallDelta(self._index, name=tool, id=new_id())

    def _say(self, count: int) -> Iterator[Event]:
        if text := self._take(count):
            self._has_text = self._has_text or not text.isspace()
            yield AnswerText(text)

    @property
    def _heads(self) -> dict[str, str]:
        return self._first if self._index < 0 else self._further

    def _find(self) -> tuple[str, int] | None:
        """Find the next call's head and its position in the buffer."""
        positions = {head: self._buffer.find(head) for head in self._heads}
        heads = [(position, head) for head, position in positions.items() if position >= 0 and self._may_open(position)]
        return (min(heads)[1], min(heads)[0]) if heads else None

    def _may_open(self, position: int) -> bool:
        return not self._form.alone or not (self._has_text or self._buffer[:position].strip())

    def _ready(self) -> int:
        """The length of the buffer that is text, without a possible beginning of a head and the space before it."""
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
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.open = True

    def feed(self, text: str) -> int:
        """Count the next characters that belong to the object."""
        for position, character in enumerate(text):
            self._step(character)
            if not self.open:
                return position + 1
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
