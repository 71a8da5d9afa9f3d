"""Decodes the requests of one call, to the end or as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing

from deepen_llm.engine.answer import Answer
from deepen_llm.engine.call import Call
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.engine.threads import in_thread
from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.outputs import Output, Piece, Usage
from deepen_llm.requests.streams import AsyncTextStream, TextStream


class Run:
    """Decodes the requests of one call.

    Args:
        engine: The engine that all calls share.
        requests: The requests; for a prompt that cannot be used, its error.

    Attributes:
        requests: See above.
    """

    def __init__(self, engine: SharedEngine, requests: Sequence[Request[Answer] | DeepenError]) -> None:
        self.requests = requests
        self._engine = engine

    def finish(self) -> list[Output | DeepenError]:
        """Decode to the end; one output per prompt, or its error."""
        with self._engine.open(self._decodable()) as call:
            call.wait()
        return self.outputs()

    async def async_finish(self) -> list[Output | DeepenError]:
        """The asynchronous `finish`: steps run in a thread."""
        with self._engine.open(self._decodable()) as call:
            await call.async_wait()
        return self.outputs()

    def stream(self) -> TextStream:
        """Stream the only answer to the only prompt.

        Raises:
            ConfigError: ``n`` is not 1.
        """
        return TextStream(self._pieces(self._streamed()))

    async def pieces(self) -> AsyncGenerator[Piece | Output, None]:
        """The pieces of the only answer to the only prompt, and its output.

        Raises:
            ConfigError: ``n`` is not 1.
        """
        request, pieces = self._streamed(), deque[Piece]()
        with self._open(request, pieces) as call:
            async for piece in call.async_drain(pieces):
                yield piece
        yield self._output(request)

    def outputs(self) -> list[Output | DeepenError]:
        """One output per prompt, or its error."""
        return [self._output(request) if isinstance(request, Request) else request for request in self.requests]

    def _decodable(self) -> list[Request[Answer]]:
        return [request for request in self.requests if isinstance(request, Request)]

    def _streamed(self) -> Request[Answer]:
        (request,) = self._decodable()
        if len(request.sequences) > 1:
            raise ConfigError(
                f"a stream of n={len(request.sequences)} samples: expected one",
                hint="set n=1, or ask without streaming",
            )
        return request

    def _pieces(self, request: Request[Answer]) -> Generator[Piece, None, Output]:
        pieces = deque[Piece]()
        with self._open(request, pieces) as call:
            yield from call.drain(pieces)
        return self._output(request)

    def _open(self, request: Request[Answer], pieces: deque[Piece]) -> Call:
        """Decode a request, and append what may be shown of its answer after each step."""
        (answer,) = request.sequences

        def collect() -> None:
            piece = answer.drain()
            if piece or piece.tool_calls or piece.reasoning:
                pieces.append(piece)

        return self._engine.open([request], collect)

    def _output(self, request: Request[Answer]) -> Output:
        prompt_tokens = len(request.prompt[self._engine.ensemble.main].ids)
        samples = tuple(answer.sample() for answer in request.sequences)
        return Output(samples, Usage(prompt_tokens, sum(len(answer.tokens) for answer in request.sequences)))


def async_stream(build: Callable[[], Run]) -> AsyncTextStream:
    """A stream of a run that is built in a thread, on the first step."""

    async def pieces() -> AsyncGenerator[Piece | Output, None]:
        run = await in_thread(build)
        async with aclosing(run.pieces()) as decoded:
            async for piece in decoded:
                yield piece

    return AsyncTextStream(pieces())
