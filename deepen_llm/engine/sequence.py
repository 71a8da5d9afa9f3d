"""What is asked, and each answer while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from deepen_llm.engine.ensemble import Step
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.report import StepReport
from deepen_llm.engine.stops import Stops
from deepen_llm.engine.text import TextAssembler
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.outputs import FinishReason, Piece, Sample, TokenLogprob, TokenTrace
from deepen_llm.outputs.trace import Trace
from deepen_llm.structure import Guide, Room
from deepen_llm.tools.calls import CallLog
from deepen_llm.tools.reader import AnswerText, Event, Reader, ReasoningText
from deepen_llm.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt, and the answers to it while they grow.

    Attributes:
        prompt: The prompt, as each member encodes it.
        rows: One for each sample.
    """

    prompt: Sequence[Prompt]
    rows: Sequence[Row]


class Row:
    """The tokens committed so far, what they say, and why the answer ended.

    Args:
        vocabulary: The main model's vocabulary.
        options: How to generate.
        generator: The row's own source of randomness.
        guide: Holds the answer to a structure; None for a free one.
        reader: Tells text from tool calls; None where all is text.
        stops: Where the answer stops.
        prompt: The main model's tokens of the prompt.
        healing: Whether the answer may go on with a token that the prompt ends inside of.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        options: GenerationOptions,
        generator: torch.Generator,
        guide: Guide | None = None,
        reader: Reader | None = None,
        *,
        stops: Stops,
        prompt: Sequence[int] = (),
        healing: bool = False,
    ) -> None:
        self.generator = generator
        self.finish_reason: FinishReason | None = None
        self.tokens: list[int] = []
        self._fused, self._prompt = 0, prompt  # how many of the tokens were fused
        self._bytes = 0 if healing else None  # of the tokens, where that is asked for
        self._free = (True, True)  # whether the last token stands in free text: before it, behind it
        self._vocabulary, self._options, self._guide, self._reader = vocabulary, options, guide, reader
        self._stops, self._assembler = stops, TextAssembler(stops.strings)
        self._calls, self._thoughts, self._pondered = CallLog(), "", 0
        self._logprobs: list[TokenLogprob] = []
        self._trace: list[TokenTrace] = []

    @property
    def written(self) -> list[int]:
        """The prompt's tokens and the chosen ones, however the main model reads them now."""
        return [*self._prompt, *self.tokens]

    def preview(self, tokens: Sequence[int]) -> list[tuple[str, bytes]]:
        """For tokens that may come next: the characters that each completes, and the bytes of another begun."""
        return self._assembler.preview([self._vocabulary.surfaces[token] or b"" for token in tokens])

    def unfinished(self, draft: Sequence[Step]) -> list[bytes]:
        """The bytes of a character that the text ends inside of, at each boundary of a draft."""
        return [self._assembler.unfinished, *(rest for _, rest in self.preview([step.token for step in draft]))]

    def answered(self, draft: Sequence[Step]) -> list[int | None]:
        """How many bytes the answer has at each boundary of a draft; None where no prompt is healed."""
        if self._bytes is None:
            return [None] * (1 + len(draft))
        return [*accumulate((self._size(step.token) for step in draft), initial=self._bytes)]

    def allowed(self) -> Tensor | None:
        """The tokens that the structure allows next, bool ``[V_m]``; None where it is free."""
        return self._guide.allowed() if self._guide else None

    def settle(self, token: int, room: Room) -> int:
        """The token to commit: the given one, or another where the structure must come to its end.

        Args:
            token: The chosen token.
            room: How much fits into the context windows.
        """
        if self._guide is None:
            return token
        left = self._options.max_new_tokens - len(self.tokens)
        unheard = self._assembler.pending  # the other members have yet to hear these bytes
        before = not self._guide.closing
        token = self._guide.settle(token, Room(min(room.main, left), room.others - unheard))
        self._free = before, not self._guide.closing
        return token

    def commit(self, token: int, report: StepReport, place: int) -> str:
        """Take a token; returns the characters that it completed, for the other members to hear.

        Args:
            token: The main-model token.
            report: What it was chosen from.
            place: This row's place in the report.
        """
        if self._options.logprobs is not None:
            self._logprobs.append(report.logprob(place, token, self._options.logprobs))
        self.tokens.append(token)
        self._bytes = None if self._bytes is None else self._bytes + self._size(token)
        self._fused += report.is_fused(place)
        ends, stops = token in self._vocabulary.end_of_text, self._stops_at(token)
        unsaid = stops and token in self._stops.tokens
        piece = "" if unsaid else self._assembler.decode(self._vocabulary.surfaces[token] or b"")
        if self._options.trace:
            self._trace.append(report.trace(place, token, piece))
        if stops:
            self._stop(token)
        else:
            self._read(token, piece)
        if self._assembler.stopped:
            self.finish_reason = "stop"
        elif ends or (self._guide and self._guide.finished):
            self.finish_reason = "length" if self._guide and self._guide.forced else "eos"
        self.bound(len(self.tokens) >= self._options.max_new_tokens)
        return piece

    def _size(self, token: int) -> int:
        return len(self._vocabulary.surfaces[token] or b"")

    def _stops_at(self, token: int) -> bool:
        """Whether the answer stops before a token; a call that is begun goes on to its end."""
        stops = token in self._stops.tokens or self._stops.marks.get(token) in self._stops.strings
        return stops and self._free[0]

    def _read(self, token: int, piece: str) -> None:
        """Take what a token says: its characters; for a reader, its spelling, where it is special."""
        special = self._vocabulary.surfaces[token] is None and token not in self._vocabulary.end_of_text
        spelled = self._vocabulary.spellings.get(token, "") if special else piece
        mark = self._stops.marks.get(token) if all(self._free) else None
        if mark is None:
            self._hear(spelled if self._reader else piece)
        elif self._reader:
            self._take(self._reader.feed_mark(mark, spelled))
        else:
            self._assembler.say(mark)

    def _stop(self, token: int) -> None:
        """End the answer before a token, behind what the reader holds back."""
        if self._reader:
            self._take(self._reader.finish())
            self._reader = None
        self._assembler.say(self._stops.marks.get(token, ""))
        self._assembler.stop()

    def bound(self, reached: bool) -> None:
        """End the answer if a bound is reached and nothing ended it before."""
        if reached and self.finish_reason is None:
            self.finish_reason = "length"
        if self.finish_reason in {"length", "eos"}:
            self._hear(self._assembler.decode(b"", final=True))
            if self._reader:
                self._take(self._reader.finish())
                self._reader = None
            if self._assembler.stopped:  # by what the reader had held back
                self.finish_reason = "stop"

    def release(self) -> Piece:
        """What may be shown now and was not before."""
        text = self._assembler.release(final=self.finish_reason is not None)
        thoughts, self._pondered = self._thoughts[self._pondered :], len(self._thoughts)
        return Piece(text, self._calls.release(), thoughts)

    def sample(self) -> Sample:
        """The answer as the user gets it; complete once `finish_reason` is set."""
        return Sample(
            text=self._assembler.text,
            tokens=tuple(self.tokens),
            finish_reason=self.finish_reason or "length",
            logprobs=tuple(self._logprobs) if self._options.logprobs is not None else None,
            trace=Trace(self._trace) if self._options.trace else None,
            tool_calls=self._calls.whole(),
            reasoning=self._thoughts,
            response_format=self._options.response_format,
            fused_tokens=self._fused,
        )

    def _hear(self, characters: str) -> None:
        if self._reader:
            self._take(self._reader.feed(characters))
        else:
            self._assembler.say(characters)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, AnswerText):
                self._assembler.say(event.text)
            elif isinstance(event, ReasoningText):
                self._thoughts += event.text
            else:
                self._calls.add(event)
