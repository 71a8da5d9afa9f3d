"""An answer while it is decoded: its tokens, what is reported of them, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from deepen_llm.engine.answer_text import AnswerInProgress
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.report import StepReport
from deepen_llm.engine.sampling import Sampling
from deepen_llm.engine.sequence import TokenSequence
from deepen_llm.engine.stops import Stops
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.outputs import FinishReason, Piece, Sample, TokenLogprob, TokenTrace
from deepen_llm.outputs.trace import Trace
from deepen_llm.structure import Guide, TokenBudget
from deepen_llm.tools.reader import Reader
from deepen_llm.vocabulary import Vocabulary


class Answer(TokenSequence):
    """A sequence whose tokens the ensemble chooses.

    Args:
        vocabulary: The main model's vocabulary.
        options: How to generate.
        generator: The answer's own source of randomness.
        guide: Constrains the answer to a structure; None for a free one.
        reader: Parses reasoning and tool calls out of the answer; None where all of it is text.
        stops: Where the answer stops.
        prompt_ids: The main model's tokens of the prompt.
        healing: Whether the answer may begin with the rest of a token whose first bytes end the prompt.

    Attributes:
        generator: See above.
        sampling: How its tokens are chosen.
        finish_reason: Why it ended; None while it is decoded.
        tokens: The committed tokens.
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
        prompt_ids: Sequence[int] = (),
        healing: bool = False,
    ) -> None:
        self.generator = generator
        self.sampling = Sampling.of(options)
        self.finish_reason: FinishReason | None = None
        self.tokens: list[int] = []
        self._vocabulary, self._options, self._guide, self._stops = vocabulary, options, guide, stops
        self._prompt_ids = prompt_ids
        self._text = AnswerInProgress(vocabulary, stops, reader)
        self._bytes = 0 if healing else None  # of the answer, where the prompt's end is healed
        self._fused_tokens = 0
        # Whether the structure does not force the tokens, before the last token and after it.
        self._was_free, self._is_free = True, True
        self._logprobs: list[TokenLogprob] = []
        self._trace: list[TokenTrace] = []

    @property
    def begun(self) -> bool:
        """See `TokenSequence`."""
        return bool(self.tokens)

    @property
    def finished(self) -> bool:
        """See `TokenSequence`."""
        return self.finish_reason is not None

    @property
    def token_limit(self) -> int:
        """See `TokenSequence`."""
        return self._options.max_new_tokens

    @property
    def ids(self) -> list[int]:
        """The prompt's tokens and the committed ones; the main model may have encoded their text again since."""
        return [*self._prompt_ids, *self.tokens]

    def preview(self, tokens: Sequence[int]) -> list[tuple[str, bytes]]:
        """For tokens that may come next: the characters that each completes, and the bytes of another begun."""
        return self._text.preview(tokens)

    def boundaries(self, draft: Sequence[Token]) -> list[Boundary]:
        """See `TokenSequence`."""
        unfinished = [self._text.unfinished, *(rest for _, rest in self.preview([token.id for token in draft]))]
        if self._bytes is None:
            return [Boundary(rest) for rest in unfinished]
        answer_bytes = accumulate((self._size(token.id) for token in draft), initial=self._bytes)
        return [Boundary(rest, answer_bytes=count) for rest, count in zip(unfinished, answer_bytes, strict=True)]

    def allowed(self) -> Tensor | None:
        """The tokens that the structure allows next, bool ``[V_m]``; None for a free answer."""
        return self._guide.allowed() if self._guide else None

    def constrain(self, token: int, budget: TokenBudget) -> int:
        """The token to commit: the chosen one, or another where the structure must come to its end.

        Args:
            token: The chosen token.
            budget: How many tokens still fit into the context windows.
        """
        if self._guide is None:
            return token
        left = self._options.max_new_tokens - len(self.tokens)
        unread = len(self._text.unfinished)  # bytes that the other members have not read yet
        self._was_free = not self._guide.closing
        token = self._guide.settle(token, TokenBudget(min(budget.main, left), budget.others - unread))
        self._is_free = not self._guide.closing
        return token

    def commit(self, token: int, report: StepReport, position: int) -> str:
        """Append a token; returns the characters that it completed.

        Args:
            token: The main-model token.
            report: The distributions that it was chosen from.
            position: Its boundary's position there.
        """
        if self._options.logprobs is not None:
            self._logprobs.append(report.logprob(position, token, self._options.logprobs))
        self.tokens.append(token)
        self._bytes = None if self._bytes is None else self._bytes + self._size(token)
        self._fused_tokens += report.is_fused(position)
        stops = self._was_free and self._text.is_stop(token)  # an unfinished tool call is completed first
        piece = "" if stops and token in self._stops.tokens else self._text.decode(token)
        if self._options.trace:
            self._trace.append(report.trace(position, token, piece))
        if stops:
            self._text.stop_before(token)
        else:
            self._text.append(token, piece, free=self._was_free and self._is_free)
        self._end_after(token)
        return piece

    def end_at_limit(self, reached: bool) -> None:
        """See `TokenSequence`."""
        if reached and self.finish_reason is None:
            self._end("length")

    def drain(self) -> Piece:
        """The new text, tool calls and reasoning that may be shown, each returned once."""
        return self._text.drain(final=self.finished)

    def sample(self) -> Sample:
        """The result of this answer; complete once `finished`."""
        return Sample(
            text=self._text.text,
            tokens=tuple(self.tokens),
            finish_reason=self.finish_reason or "length",
            logprobs=tuple(self._logprobs) if self._options.logprobs is not None else None,
            trace=Trace(self._trace) if self._options.trace else None,
            tool_calls=self._text.tool_calls,
            reasoning=self._text.reasoning,
            response_format=self._options.response_format,
            fused_tokens=self._fused_tokens,
            left_out=self.left_out,
        )

    def _end_after(self, token: int) -> None:
        """End the answer if the committed token ends it."""
        if self._text.stopped:
            self.finish_reason = "stop"
        elif token in self._vocabulary.end_of_text or (self._guide and self._guide.finished):
            self._end("length" if self._guide and self._guide.forced else "eos")
        self.end_at_limit(len(self.tokens) >= self._options.max_new_tokens)

    def _end(self, reason: FinishReason) -> None:
        """Complete the text first: an answer that is finished is complete, wherever a fault or an interrupt comes."""
        self._text.finish()
        self.finish_reason = "stop" if self._text.stopped else reason  # by text that the reader had held back

    def _size(self, token: int) -> int:
        return len(self._vocabulary.surfaces[token] or b"")
