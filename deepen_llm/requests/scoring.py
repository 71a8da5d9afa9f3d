"""Encodes and scores the continuations of one call."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import Self

from deepen_llm.engine.scoring import Continuation, given_requests
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.outputs import Score
from deepen_llm.requests.prompts import encode_continuation, encode_text, paired


class Scoring:
    """Scores continuations.

    Args:
        engine: The engine that all calls share.
        prompts: The prompts, one for each continuation; equal ones as one object, which is read once.
        continuations: The texts that follow them.

    Raises:
        PromptError: A continuation is empty, or leaves no room in a context window.
    """

    def __init__(self, engine: SharedEngine, prompts: Sequence[EncodedPrompt], continuations: Sequence[str]) -> None:
        encoded = [
            Continuation(prompt, encode_continuation(engine.ensemble, prompt, text))
            for prompt, text in zip(prompts, continuations, strict=True)
        ]
        self._engine = engine
        self._sequences, self._requests = given_requests(engine, encoded)

    @classmethod
    def of_texts(cls, engine: SharedEngine, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> Self:
        """The scoring of continuations of plain prompts; a single one of either is paired with all of the other.

        Raises:
            PromptError: A text is empty, one leaves no room in a context window, or there are not as many prompts as
                continuations.
        """
        prompts, continuations = paired(prompt, continuation)
        encoded = {text: encode_text(engine.ensemble, text) for text in dict.fromkeys(prompts)}
        return cls(engine, [encoded[text] for text in prompts], continuations)

    def finish(self) -> list[Score]:
        """Read to the end; the scores, in the order of the continuations."""
        with self._engine.open(self._requests) as call:
            call.wait()
        return [sequence.score() for sequence in self._sequences]

    async def async_finish(self) -> list[Score]:
        """The asynchronous `finish`: steps run in a thread."""
        with self._engine.open(self._requests) as call:
            await call.async_wait()
        return [sequence.score() for sequence in self._sequences]
