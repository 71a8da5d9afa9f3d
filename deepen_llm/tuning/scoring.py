"""Scores of an ensemble on single examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepen_llm.llm import EnsembleLLM
from deepen_llm.outputs import Output
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.metrics import Measure


def scores(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    """Score each example from 0 to 1, by a greedily generated answer or the likeliest choice.

    Args:
        llm: The ensemble.
        examples: The examples.
        measure: The metric.
    """
    score = _of_choices if examples[0].choices else _of_answers
    scored: list[float] = []
    size = llm.settings.batch_size
    for first in range(0, len(examples), size):
        scored += score(llm, examples[first : first + size], measure)
    return scored


def answers(llm: EnsembleLLM, examples: Sequence[Example], **options: Any) -> list[Output]:
    """Generate answers greedily.

    Args:
        llm: The ensemble.
        examples: The examples.
        **options: Further generation options.
    """
    greedy = {"temperature": 0.0, "n": 1, **options}
    if examples[0].messages:
        return llm.chat([list(example.messages) for example in examples], **greedy)
    return llm.generate([example.prompt for example in examples], **greedy)


def choice_logprobs(llm: EnsembleLLM, examples: Sequence[Example]) -> list[list[float]]:
    """Compute the log-probability of each choice of each example, in nats."""
    if examples[0].messages:
        return [[score.total for score in llm.score_chat(example.messages, example.choices)] for example in examples]
    pairs = [(example.prompt, choice) for example in examples for choice in example.choices]
    totals = iter([score.total for score in llm.score(*(list(column) for column in zip(*pairs, strict=True)))])
    return [[next(totals) for _ in example.choices] for example in examples]


def _of_answers(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    outputs = answers(llm, examples)
    return [measure.of_answer(example, output.text) for example, output in zip(examples, outputs, strict=True)]


def _of_choices(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    choices = choice_logprobs(llm, examples)
    return [measure.of_choices(example, logprobs) for example, logprobs in zip(examples, choices, strict=True)]
