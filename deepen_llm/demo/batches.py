"""Decoding of all questions of the demonstration, in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from deepen_llm.demo.settings import BATCH
from deepen_llm.outputs import Output

T = TypeVar("T")


def answer_all(
    prompts: Sequence[T], answer: Callable[[list[T]], Sequence[Output]], advance: Callable[[int], None]
) -> tuple[list[Output], float]:
    """Answer all prompts; return the outputs and the duration in seconds.

    Args:
        prompts: The prompts, as `answer` takes them.
        answer: Answers a batch.
        advance: Called after every batch with its number of prompts.
    """
    outputs: list[Output] = []
    started = time.perf_counter()
    for first in range(0, len(prompts), BATCH):
        batch = list(prompts[first : first + BATCH])
        outputs += answer(batch)
        advance(len(batch))
    return outputs, time.perf_counter() - started
