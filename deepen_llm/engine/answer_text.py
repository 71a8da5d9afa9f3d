"""The text of an answer while its tokens come in, with its reasoning and its tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.engine.stops import Stops
from deepen_llm.engine.text import TextAssembler
from deepen_llm.outputs import Piece
from deepen_llm.tools.calls import CallLog, ToolCall
from deepen_llm.tools.reader import AnswerText, Event, Reader, ReasoningText
from deepen_llm.vocabulary import Vocabulary


class AnswerInProgress:
    """Text, reasoning and tool calls, as the tokens spell them.

    Args:
        vocabulary: The main model's vocabulary.
        stops: Where the answer stops.
        reader: Parses reasoning and tool calls out of the characters; None where all of them are text.

    Attributes:
        reasoning: The text that a reasoning model wrote before its answer.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Stops, reader: Reader | None) -> None:
        self.reasoning = ""
        self._vocabulary, self._stops, self._reader = vocabulary, stops, reader
        self._assembler = TextAssembler(stops.strings)
        self._calls = CallLog()
        self._reasoning_shown = 0

    @property
    def text(self) -> str:
        """All whole characters of the text, cut before a stop string."""
        return self._assembler.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that are complete."""
        return self._calls.whole()

    @property
    def stopped(self) -> bool:
        """Whether a stop string or a stop token has ended the text."""
        return self._assembler.stopped

    @property
    def unfinished(self) -> bytes:
        """The bytes of a character that the text ends inside of."""
        return self._assembler.unfinished

    def preview(self, tokens: Sequence[int]) -> list[tuple[str, bytes]]:
        """For tokens that may come next: the characters that each completes, and the bytes of another begun."""
        return self._assembler.preview([self._vocabulary.surfaces[token] or b"" for token in tokens])

    def is_stop(self, token: int) -> bool:
        """Whether free text stops before a token."""
        return token in self._stops.tokens or self._stops.marks.get(token) in self._stops.strings

    def decode(self, token: int) -> str:
        """The characters that a token completes, which are not appended yet."""
        return self._assembler.decode(self._vocabulary.surfaces[token] or b"")

    def append(self, token: int, piece: str, *, free: bool) -> None:
        """Append a token's characters; for a reader, a special token's spelling.

        Args:
            token: The token.
            piece: The characters that it completed.
            free: Whether the token stands in free text, where a special token may be part of a stop string.
        """
        special = self._vocabulary.surfaces[token] is None and token not in self._vocabulary.end_of_text
        spelled = self._vocabulary.spellings.get(token, "") if special else piece
        mark = self._stops.marks.get(token) if free else None
        if mark is None:
            self._append_text(spelled if self._reader else piece)
        elif self._reader:
            self._handle(self._reader.feed_mark(mark, spelled))
        else:
            self._assembler.append(mark)

    def stop_before(self, token: int) -> None:
        """End the text before a token; text that the reader holds back is appended first."""
        self._finish_reader()
        self._assembler.append(self._stops.marks.get(token, ""))
        self._assembler.stop()

    def finish(self) -> None:
        """Append all text that is held back: an unfinished character, and text that the reader has not parsed."""
        self._append_text(self._assembler.decode(b"", final=True))
        self._finish_reader()

    def drain(self, *, final: bool) -> Piece:
        """The new text, tool calls and reasoning that may be shown, each returned once.

        Args:
            final: Whether the answer is finished, so that nothing is held back.
        """
        text = self._assembler.release(final=final)
        reasoning, self._reasoning_shown = self.reasoning[self._reasoning_shown :], len(self.reasoning)
        return Piece(text, self._calls.release(), reasoning)

    def _finish_reader(self) -> None:
        if self._reader:
            self._handle(self._reader.finish())
            self._reader = None

    def _append_text(self, characters: str) -> None:
        if self._reader:
            self._handle(self._reader.feed(characters))
        else:
            self._assembler.append(characters)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, AnswerText):
                self._assembler.append(event.text)
            elif isinstance(event, ReasoningText):
                self.reasoning += event.text
            else:
                self._calls.add(event)
