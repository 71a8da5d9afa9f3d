"""Streams of LlamaIndex responses: each has the new text, and the whole text so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.llms.deepen.responses import chat_response, completion_response, message

from deepen_llm import AsyncTextStream, CallDelta, EnsembleLLM, Output, Piece, TextStream

Response = TypeVar("Response", CompletionResponse, ChatResponse)


class PartialResponse(ABC, Generic[Response]):
    """A response that is not complete yet.

    Args:
        ensemble: The ensemble that writes it.
    """

    def __init__(self, ensemble: EnsembleLLM) -> None:
        self._ensemble, self._text = ensemble, ""

    @abstractmethod
    def extend(self, piece: Piece) -> Response:
        """Add the next piece, and return the response so far."""

    @abstractmethod
    def complete(self, output: Output) -> Response:
        """Return the last response: the complete answer, with an empty delta."""


class PartialCompletion(PartialResponse[CompletionResponse]):
    """A continuation that is not complete yet."""

    def extend(self, piece: Piece) -> CompletionResponse:
        """See `PartialResponse`."""
        self._text += piece
        return CompletionResponse(text=self._text, delta=str(piece))

    def complete(self, output: Output) -> CompletionResponse:
        """See `PartialResponse`."""
        return completion_response(self._ensemble, output, delta="")


class PartialChat(PartialResponse[ChatResponse]):
    """An answer to a conversation that is not complete yet."""

    def __init__(self, ensemble: EnsembleLLM) -> None:
        super().__init__(ensemble)
        self._reasoning = ""
        self._calls: dict[int, tuple[str, str, str]] = {}

    def extend(self, piece: Piece) -> ChatResponse:
        """See `PartialResponse`."""
        self._text += piece
        self._reasoning += piece.reasoning
        for delta in piece.tool_calls:
            self._calls[delta.index] = self._extended(delta)
        thought: dict[str, Any] = {"thinking_delta": piece.reasoning} if piece.reasoning else {}
        so_far = message(self._text, self._reasoning, list(self._calls.values()))
        return ChatResponse(message=so_far, delta=str(piece), additional_kwargs=thought)

    def _extended(self, delta: CallDelta) -> tuple[str, str, str]:
        id_, name, arguments = self._calls.get(delta.index, (delta.id or "", delta.name or "", ""))
        return id_, name, arguments + delta.arguments

    def complete(self, output: Output) -> ChatResponse:
        """See `PartialResponse`."""
        return chat_response(self._ensemble, output, delta="")


def stream_responses(stream: TextStream, answer: PartialResponse[Response]) -> Generator[Response, None, None]:
    """Yield a response for each piece of a stream; closing or abandoning the generator stops the models.

    Args:
        stream: The pieces.
        answer: The response that the pieces are added to.
    """
    with closing(stream):
        for piece in stream:
            yield answer.extend(piece)
    if stream.output is not None:
        yield answer.complete(stream.output)


async def astream_responses(
    stream: AsyncTextStream, answer: PartialResponse[Response]
) -> AsyncGenerator[Response, None]:
    """The asynchronous `stream_responses`; the models run in a thread."""
    async with aclosing(stream):
        async for piece in stream:
            yield answer.extend(piece)
    if stream.output is not None:
        yield answer.complete(stream.output)
