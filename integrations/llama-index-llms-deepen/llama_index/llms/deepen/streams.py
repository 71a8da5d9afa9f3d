"""Streams of responses: each with what is new, and with all that there is so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.llms.deepen.responses import answered, completed, message

from deepen_llm import AsyncTextStream, CallDelta, EnsembleLLM, Output, Piece, TextStream

Response = TypeVar("Response", CompletionResponse, ChatResponse)


class Growing(ABC, Generic[Response]):
    """An answer while it is written.

    Args:
        ensemble: Who writes it.
    """

    def __init__(self, ensemble: EnsembleLLM) -> None:
        self._ensemble, self._text = ensemble, ""

    @abstractmethod
    def grow(self, piece: Piece) -> Response:
        """The answer so far, with its next piece."""

    @abstractmethod
    def whole(self, output: Output) -> Response:
        """The whole answer, with nothing new but how it ended."""


class GrowingCompletion(Growing[CompletionResponse]):
    """A continuation while it is written."""

    def grow(self, piece: Piece) -> CompletionResponse:
        """See `Growing`."""
        self._text += piece
        return CompletionResponse(text=self._text, delta=str(piece))

    def whole(self, output: Output) -> CompletionResponse:
        """See `Growing`."""
        return completed(self._ensemble, output, delta="")


class GrowingChat(Growing[ChatResponse]):
    """An answer to a conversation while it is written."""

    def __init__(self, ensemble: EnsembleLLM) -> None:
        super().__init__(ensemble)
        self._reasoning = ""
        self._calls: dict[int, tuple[str, str, str]] = {}

    def grow(self, piece: Piece) -> ChatResponse:
        """See `Growing`."""
        self._text += piece
        self._reasoning += piece.reasoning
        for delta in piece.tool_calls:
            self._calls[delta.index] = self._extended(delta)
        thought: dict[str, Any] = {"thinking_delta": piece.reasoning} if piece.reasoning else {}
        said = message(self._text, self._reasoning, list(self._calls.values()))
        return ChatResponse(message=said, delta=str(piece), additional_kwargs=thought)

    def _extended(self, delta: CallDelta) -> tuple[str, str, str]:
        id_, name, arguments = self._calls.get(delta.index, (delta.id or "", delta.name or "", ""))
        return id_, name, arguments + delta.arguments

    def whole(self, output: Output) -> ChatResponse:
        """See `Growing`."""
        return answered(self._ensemble, output, delta="")


def relay(stream: TextStream, answer: Growing[Response]) -> Generator[Response, None, None]:
    """The responses of a stream; closing or abandoning it stops the models.

    Args:
        stream: The pieces.
        answer: The answer that they make.
    """
    with closing(stream):
        for piece in stream:
            yield answer.grow(piece)
    if stream.output is not None:
        yield answer.whole(stream.output)


async def arelay(stream: AsyncTextStream, answer: Growing[Response]) -> AsyncGenerator[Response, None]:
    """`relay`, for a stream whose models work in a thread."""
    async with aclosing(stream):
        async for piece in stream:
            yield answer.grow(piece)
    if stream.output is not None:
        yield answer.whole(stream.output)
