"""One call's prompts on their way through the token loop."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.loop import decode
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.sequence import Request
from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.outputs import Output, Piece, Usage
from deepen_llm.requests.streams import TextStream, in_thread


class Run:
    """Decodes requests, at most ``batch_size`` rows at a time.

    Args:
        ensemble: The ensemble.
        asked: The requests; in a failed one's place its error.
        options: How to generate.
        batch_size: The most rows at a time; one prompt's samples stay together.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        asked: Sequence[Request | DeepenError],
        options: GenerationOptions,
        batch_size: int,
    ) -> None:
        self._ensemble, self._asked, self._options = ensemble, asked, options
        self._batch_size = batch_size

    def steps(self) -> Generator[None, None, None]:
        """Decode; yields after every step, and stops the models where it is closed."""
        able = [one for one in self._asked if isinstance(one, Request)]
        yield from decode(self._ensemble, able, self._options, self._batch_size)

    def finish(self) -> list[Output | DeepenError]:
        """Decode to the end; one output per prompt, or its error."""
        for _ in self.steps():
            pass
        return self.outputs()

    async def afinish(self) -> list[Output | DeepenError]:
        """`finish` in a thread, step by step."""
        steps = self.steps()
        async for _ in in_thread(steps, steps.close):
            pass
        return self.outputs()

    def stream(self) -> TextStream:
        """The only prompt's only answer, piece by piece.

        Raises:
            ConfigError: There are several samples.
        """
        if self._options.n > 1:
            raise ConfigError(f"a stream of n={self._options.n} samples", hint="set n=1, or ask without streaming")
        (request,) = (one for one in self._asked if isinstance(one, Request))
        return TextStream(self._pieces(request))

    def _pieces(self, request: Request) -> Generator[Piece, None, Output]:
        for _ in self.steps():
            piece = request.rows[0].release()
            if piece or piece.tool_calls or piece.reasoning:
                yield piece
        return self._output(request)

    def outputs(self) -> list[Output | DeepenError]:
        """What came out, one per prompt."""
        return [self._output(one) if isinstance(one, Request) else one for one in self._asked]

    def _output(self, request: Request) -> Output:
        prompt_tokens = len(request.prompt[self._ensemble.main].ids)
        samples = tuple(row.sample() for row in request.rows)
        return Output(samples, Usage(prompt_tokens, sum(len(row.tokens) for row in request.rows)))
