"""Results of generation and scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deepen_llm.outputs.tokens import ScoredToken, TokenLogprob
from deepen_llm.outputs.trace import Trace
from deepen_llm.structure.response_format import ResponseFormat
from deepen_llm.tools.calls import CallDelta, ToolCall

FinishReason = Literal["stop", "eos", "length"]
"""A stop string was found; the end of text was chosen or the structure is complete; a limit was reached
(``max_new_tokens``, a context window), at which a structured answer gets a short end."""


class Piece(str):
    """A piece of a streamed answer.

    Attributes:
        tool_calls: Pieces of tool calls; the text may then be empty.
        reasoning: A piece of a reasoning model's text before its answer.
    """

    __slots__ = ("reasoning", "tool_calls")

    def __new__(cls, text: str, tool_calls: tuple[CallDelta, ...] = (), reasoning: str = "") -> Piece:
        """Make a piece."""
        piece = super().__new__(cls, text)
        piece.tool_calls = tool_calls
        piece.reasoning = reasoning
        return piece

    tool_calls: tuple[CallDelta, ...]
    reasoning: str


@dataclass(frozen=True)
class Usage:
    """Counts in tokens of the main model.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Committed tokens of all samples.
    """

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """The sum of both."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Sample:
    """One answer.

    Attributes:
        text: The generated text, without the prompt, ended before any stop string.
        tokens: The committed main-model tokens, the end of text included.
        finish_reason: Why it ended.
        logprobs: One per token, where asked for.
        trace: One per token, where asked for.
        tool_calls: The calls that the model asks for; they are no part of the text.
        reasoning: What a reasoning model wrote before its answer, where its tokenizer describes how it is marked.
        response_format: What the text was asked to be.
        fused_tokens: How many of the tokens came from a fused distribution, and not from the main model alone.
        left_out: Names of the members that failed while it was decoded, under ``on_member_failure="degrade"``.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    trace: Trace | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    response_format: ResponseFormat | None = None
    fused_tokens: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def fused_share(self) -> float:
        """The share of fused tokens, from 0 to 1."""
        return self.fused_tokens / len(self.tokens) if self.tokens else 0.0

    @property
    def parsed(self) -> Any:
        """The text, parsed by the ``response_format``; None without one, or with tool calls.

        Raises:
            StructureError: The text does not parse, for example because a validator refuses it.
        """
        return None if self.response_format is None or self.tool_calls else self.response_format.read(self.text)

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message, to continue the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        return {**message, "tool_calls": list(self.tool_calls)} if self.tool_calls else message


@dataclass(frozen=True)
class Output:
    """All answers to one prompt; its properties are those of the first answer.

    Attributes:
        samples: ``n`` answers.
        usage: Token counts.
    """

    samples: tuple[Sample, ...]
    usage: Usage

    @property
    def text(self) -> str:
        """The first answer's text."""
        return self.samples[0].text

    @property
    def tokens(self) -> tuple[int, ...]:
        """The first answer's tokens."""
        return self.samples[0].tokens

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first answer ended."""
        return self.samples[0].finish_reason

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...] | None:
        """The first answer's log-probabilities, if requested."""
        return self.samples[0].logprobs

    @property
    def trace(self) -> Trace | None:
        """The first answer's trace, if requested."""
        return self.samples[0].trace

    @property
    def fused_share(self) -> float:
        """The share of fused tokens among those of all answers, from 0 to 1."""
        return sum(sample.fused_tokens for sample in self.samples) / max(1, self.usage.completion_tokens)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the members that any of the answers went on without."""
        return tuple(dict.fromkeys(name for sample in self.samples for name in sample.left_out))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The first answer's tool calls."""
        return self.samples[0].tool_calls

    @property
    def reasoning(self) -> str:
        """The first answer's reasoning."""
        return self.samples[0].reasoning

    @property
    def parsed(self) -> Any:
        """The first answer, parsed by the ``response_format`` (`Sample.parsed`)."""
        return self.samples[0].parsed

    @property
    def message(self) -> dict[str, Any]:
        """The first answer as a message."""
        return self.samples[0].message


@dataclass(frozen=True)
class Score:
    """The ensemble's log-probability of a given continuation.

    Attributes:
        tokens: One per main-model token of the continuation.
    """

    tokens: tuple[ScoredToken, ...]

    @property
    def total(self) -> float:
        """The log-probability of the continuation, in nats."""
        return sum(token.logprob for token in self.tokens)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding would have given this continuation."""
        return all(token.greedy for token in self.tokens)
