"""One answer while it grows."""

from __future__ import annotations

import torch

from deepen_llm.config import GenerationOptions
from deepen_llm.outputs import FinishReason, Sample, TokenLogprob, TokenTrace
from deepen_llm.text import TextAssembler
from deepen_llm.tracing import StepReport
from deepen_llm.vocabulary import Vocabulary


class Row:
    """The tokens committed so far, the text they spell, and why the answer ended.

    Args:
        vocabulary: The main model's vocabulary.
        options: How to generate.
        generator: The row's own source of randomness.
    """

    def __init__(self, vocabulary: Vocabulary, options: GenerationOptions, generator: torch.Generator) -> None:
        self.generator = generator
        self.finish_reason: FinishReason | None = None
        self.tokens: list[int] = []
        self._vocabulary, self._options = vocabulary, options
        self._assembler = TextAssembler(options.stop)
        self._logprobs: list[TokenLogprob] = []
        self._trace: list[TokenTrace] = []

    @property
    def mid_character(self) -> bool:
        """Whether the text ends inside a character, where only the main model can go on."""
        return self._assembler.mid_character

    def commit(self, token: int, report: StepReport, place: int) -> str:
        """Take a token; returns the characters that it completed, for the other members to hear.

        Args:
            token: The main-model token.
            report: What it was chosen from.
            place: This row's place in the report.
        """
        if self._options.logprobs is not None:
            self._logprobs.append(report.logprob(place, token, self._options.logprobs))
        if self._options.trace:
            self._trace.append(report.trace(place, token, mid_character=self.mid_character))
        self.tokens.append(token)
        piece = self._assembler.feed(self._vocabulary.surfaces[token] or b"")
        if self._assembler.stopped:
            self.finish_reason = "stop"
        elif token in self._vocabulary.end_of_text:
            self.finish_reason = "eos"
        self.bound(len(self.tokens) >= self._options.max_new_tokens)
        return piece

    def bound(self, reached: bool) -> None:
        """End the answer if a bound is reached and nothing ended it before."""
        if reached and self.finish_reason is None:
            self.finish_reason = "length"
        if self.finish_reason in {"length", "eos"}:
            self._assembler.feed(b"", final=True)

    def release(self) -> str:
        """The text that may be shown now and was not before."""
        return self._assembler.release(final=self.finish_reason is not None)

    def sample(self) -> Sample:
        """The answer as the user gets it; complete once `finish_reason` is set."""
        return Sample(
            text=self._assembler.text,
            tokens=tuple(self.tokens),
            finish_reason=self.finish_reason or "length",
            logprobs=tuple(self._logprobs) if self._options.logprobs is not None else None,
            trace=tuple(self._trace) if self._options.trace else None,
        )
