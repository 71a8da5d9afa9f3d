"""Encodes and scores the continuations of one call."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import Self

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.scoring import Continuation, score
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.outputs import Score
from deepen_llm.requests.prompts import encode_continuation, encode_text, paired
from deepen_llm.requests.streams import in_thread


class Scoring:
    """Scores continuations, at most ``batch_size`` at a time.

    Args:
        ensemble: The ensemble.
        batch_size: The most continuations read together.
        prompts: The prompts, one for each continuation; equal ones as one object, which is read once.
        continuations: The texts that follow them.

    Raises:
        PromptError: A continuation is empty, or leaves no room in a context window.
    """

    def __init__(
        self, ensemble: Ensemble, batch_size: int, prompts: Sequence[EncodedPrompt], continuations: Sequence[str]
    ) -> None:
        encoded = [
            Continuation(prompt, encode_continuation(ensemble, prompt, text))
            for prompt, text in zip(prompts, continuations, strict=True)
        ]
        self._scores = score(ensemble, encoded, batch_size)

    @classmethod
    def of_texts(
        cls, ensemble: Ensemble, batch_size: int, prompt: str | Sequence[str], continuation: str | Sequence[str]
    ) -> Self:
        """The scoring of continuations of plain prompts; a single one of either is paired with all of the other.

        Raises:
            PromptError: A text is empty, one leaves no room in a context window, or there are not as many prompts as
                continuations.
        """
        prompts, continuations = paired(prompt, continuation)
        encoded = {text: encode_text(ensemble, text) for text in dict.fromkeys(prompts)}
        return cls(ensemble, batch_size, [encoded[text] for text in prompts], continuations)

    def finish(self) -> list[Score]:
        """Read to the end; the scores, in the order of the continuations."""
        return _in_order(list(self._scores))

    async def afinish(self) -> list[Score]:
        """The asynchronous `finish`: each step runs in a thread."""
        return _in_order([scored async for scored in in_thread(self._scores, self._scores.close)])


def _in_order(indexed: Sequence[tuple[int, Score]]) -> list[Score]:
    scores = dict(indexed)
    return [scores[index] for index in range(len(scores))]
