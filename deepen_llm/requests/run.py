"""Decodes the requests of one call, to the end or as a stream."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from deepen_llm.engine.answer import Answer
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.sequence import Request
from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.outputs import Output, Piece, Usage
from deepen_llm.requests.streams import TextStream, in_thread


class Run:
    """Decodes the requests of one call.

    Args:
        ensemble: The ensemble.
        requests: The requests; for a prompt that cannot be used, its error.
        batch_size: The most sequences at a time; one prompt's samples stay together.

    Attributes:
        requests: See above.
    """

    def __init__(self, ensemble: Ensemble, requests: Sequence[Request[Answer] | DeepenError], batch_size: int) -> None:
        self.requests = requests
        self._ensemble, self._batch_size = ensemble, batch_size

    def steps(self) -> Generator[None, None, None]:
        """Decode; yields after every step. Closing it aborts the requests."""
        engine = Engine(self._ensemble, self._batch_size)
        for request in self._decodable():
            engine.add(request)
        try:
            while engine.has_unfinished:
                engine.step()
                yield
        finally:
            engine.close()

    def finish(self) -> list[Output | DeepenError]:
        """Decode to the end; one output per prompt, or its error."""
        for _ in self.steps():
            pass
        return self.outputs()

    async def afinish(self) -> list[Output | DeepenError]:
        """The asynchronous `finish`: each step runs in a thread."""
        steps = self.steps()
        async for _ in in_thread(steps, steps.close):
            pass
        return self.outputs()

    def stream(self) -> TextStream:
        """Stream the only answer to the only prompt.

        Raises:
            ConfigError: ``n`` is not 1.
        """
        (request,) = self._decodable()
        if len(request.sequences) > 1:
            raise ConfigError(
                f"a stream of n={len(request.sequences)} samples: expected one",
                hint="set n=1, or generate without streaming",
            )
        return TextStream(self._pieces(request))

    def outputs(self) -> list[Output | DeepenError]:
        """One output per prompt, or its error."""
        return [self._output(request) if isinstance(request, Request) else request for request in self.requests]

    def _decodable(self) -> list[Request[Answer]]:
        return [request for request in self.requests if isinstance(request, Request)]

    def _pieces(self, request: Request[Answer]) -> Generator[Piece, None, Output]:
        (answer,) = request.sequences
        for _ in self.steps():
            piece = answer.drain()
            if piece or piece.tool_calls or piece.reasoning:
                yield piece
        return self._output(request)

    def _output(self, request: Request[Answer]) -> Output:
        prompt_tokens = len(request.prompt[self._ensemble.main].ids)
        samples = tuple(answer.sample() for answer in request.sequences)
        return Output(samples, Usage(prompt_tokens, sum(len(answer.tokens) for answer in request.sequences)))
