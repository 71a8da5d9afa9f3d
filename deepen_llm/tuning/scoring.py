"""What an ensemble scores on examples, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepen_llm.llm import EnsembleLLM
from deepen_llm.outputs import Output
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.metrics import Measure


def scores(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    """Each example's score, from 0 to 1: of a greedily generated answer, or of the likeliest choice.

    Args:
        llm: Who is asked.
        examples: What is asked.
        measure: How good an answer is.
    """
    score = _of_choices if examples[0].choices else _of_answers
    found: list[float] = []
    size = llm.settings.batch_size
    for first in range(0, len(examples), size):
        found += score(llm, examples[first : first + size], measure)
    return found


def answers(llm: EnsembleLLM, examples: Sequence[Example], **options: Any) -> list[Output]:
    """Greedily generated answers.

    Args:
        llm: Who is asked.
        examples: What is asked.
        **options: Generation options beside.
    """
    given = {"temperature": 0.0, "n": 1, **options}
    if examples[0].messages:
        return llm.chat([list(example.messages) for example in examples], **given)
    return llm.generate([example.prompt for example in examples], **given)


def choice_logprobs(llm: EnsembleLLM, examples: Sequence[Example]) -> list[list[float]]:
    """The log-probability of each choice of each example, in nats."""
    if examples[0].messages:
        return [[one.total for one in llm.score_chat(example.messages, example.choices)] for example in examples]
    asked = [(example.prompt, choice) for example in examples for choice in example.choices]
    totals = iter([one.total for one in llm.score(*(list(column) for column in zip(*asked, strict=True)))])
    return [[next(totals) for _ in example.choices] for example in examples]


def _of_answers(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    outputs = answers(llm, examples)
    return [measure.of_answer(one, output.text) for one, output in zip(examples, outputs, strict=True)]


def _of_choices(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> list[float]:
    found = choice_logprobs(llm, examples)
    return [measure.of_choices(example, logprobs) for example, logprobs in zip(examples, found, strict=True)]
