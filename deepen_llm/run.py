"""One call's prompts on their way through the token loop."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from deepen_llm.config import GenerationOptions
from deepen_llm.decoding import Ensemble, decode
from deepen_llm.outputs import Output, Usage
from deepen_llm.prompts import EncodedPrompt
from deepen_llm.row import Row
from deepen_llm.sampling import generators
from deepen_llm.streaming import in_thread


class Run:
    """Decodes prompts in groups of at most ``batch_size`` rows.

    Args:
        ensemble: The ensemble.
        prompts: The prompts, encoded.
        options: How to generate.
        batch_size: The most rows at a time; one prompt's samples stay together.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        prompts: Sequence[EncodedPrompt],
        options: GenerationOptions,
        batch_size: int,
    ) -> None:
        vocabulary = ensemble.main_model.vocabulary
        self.rows = [[Row(vocabulary, options, one) for one in generators(options)] for _ in prompts]
        self._ensemble, self._prompts, self._options = ensemble, prompts, options
        self._group = max(1, batch_size // options.n)

    def steps(self) -> Generator[None, None, None]:
        """Decode; yields after every step, and stops the models where it is closed."""
        for first in range(0, len(self._prompts), self._group):
            group = slice(first, first + self._group)
            rows = [row for samples in self.rows[group] for row in samples]
            yield from decode(self._ensemble, self._prompts[group], rows, self._options)

    def finish(self) -> list[Output]:
        """Decode to the end; one output per prompt."""
        for _ in self.steps():
            pass
        return self.outputs()

    async def afinish(self) -> list[Output]:
        """`finish` in a thread, step by step."""
        steps = self.steps()
        async for _ in in_thread(steps, steps.close):
            pass
        return self.outputs()

    def pieces(self) -> Generator[str, None, Output]:
        """The first prompt's first answer, piece by piece; returns its whole output."""
        row = self.rows[0][0]
        for _ in self.steps():
            if piece := row.release():
                yield piece
        return self.outputs()[0]

    def outputs(self) -> list[Output]:
        """What came out, one per prompt."""
        return [
            Output(
                tuple(row.sample() for row in samples),
                Usage(len(prompt[self._ensemble.main].ids), sum(len(row.tokens) for row in samples)),
            )
            for prompt, samples in zip(self._prompts, self.rows, strict=True)
        ]
