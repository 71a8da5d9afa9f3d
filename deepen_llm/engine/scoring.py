"""Scores of given continuations; several are read together, and several tokens of each in one forward."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from deepen_llm.engine.given import GivenSequence
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.outputs import Score


@dataclass(frozen=True)
class Continuation:
    """A continuation to score.

    Attributes:
        prompt: The prompt, as each member encodes it.
        tokens: The tokens that follow it, of the ensemble's vocabulary, at least one.
        unfinished: Bytes at the prompt's end that only the main model has read: the beginning of a character.
    """

    prompt: EncodedPrompt
    tokens: Sequence[int]
    unfinished: bytes = b""


def given_requests(
    engine: SharedEngine, continuations: Sequence[Continuation]
) -> tuple[list[GivenSequence], list[Request[GivenSequence]]]:
    """The continuations as sequences, in their order, and the requests that they are scored by.

    The longest are read first. Continuations of one and the same prompt are read together, and their prompt once.

    Args:
        engine: The engine that will score them.
        continuations: The continuations.
    """
    vocabulary = engine.ensemble.vocabulary
    sequences = [
        GivenSequence(vocabulary, continuation.tokens, continuation.unfinished) for continuation in continuations
    ]
    groups = _by_prompt(continuations, engine.batch_size)
    return sequences, [
        Request(continuations[group[0]].prompt, [sequences[index] for index in group]) for group in groups
    ]


def score(engine: SharedEngine, continuations: Sequence[Continuation]) -> Generator[tuple[int, Score], None, None]:
    """Score continuations; yields each one's index and its score, as they end.

    Args:
        engine: The engine that scores them.
        continuations: The continuations.

    Raises:
        LogitsError: A member's logits, or the fused ones, are no distribution.
    """
    sequences, requests = given_requests(engine, continuations)
    left, ended = set(range(len(sequences))), deque[int]()

    def collect() -> None:
        new = [index for index in left if sequences[index].finished]
        left.difference_update(new)
        ended.extend(new)

    with engine.open(requests, collect) as call:
        for index in call.drain(ended):
            yield index, sequences[index].score()


def _by_prompt(continuations: Sequence[Continuation], batch_size: int) -> list[list[int]]:
    """Indices of continuations in groups of one prompt, of at most ``batch_size``; the longest first."""
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(continuations)), key=lambda i: -_length(continuations[i])):
        groups.setdefault(id(continuations[index].prompt), []).append(index)
    return [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]


def _length(continuation: Continuation) -> int:
    return max(len(prompt.ids) for prompt in continuation.prompt) + len(continuation.tokens)
