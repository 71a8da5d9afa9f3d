"""Probabilities of an ensemble's answers, and losses of right answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.llm import EnsembleLLM
from deepen_llm.outputs import Output
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.scoring import answers, choice_logprobs


def confidences(llm: EnsembleLLM, examples: Sequence[Example]) -> list[float]:
    """Compute the probability of each greedy answer; for choices, of the likeliest one among them."""
    if examples[0].choices:
        return [float(normalized.exp().max()) for normalized in among(choice_logprobs(llm, examples))]
    return [math.exp(logprob(output)) for output in answers(llm, examples, logprobs=0)]


def logprob(output: Output) -> float:
    """Sum the log-probabilities of a generated answer's tokens, in nats."""
    return sum(token.logprob for token in output.logprobs or ())


def losses(llm: EnsembleLLM, examples: Sequence[Example]) -> list[float]:
    """Compute the negative log-probability of each right answer, in nats.

    For references, of the first one, with and without a space before it; for choices, of the right one among them.
    """
    if examples[0].choices:
        normalized = among(choice_logprobs(llm, examples))
        return [-float(logprobs[example.answer]) for logprobs, example in zip(normalized, examples, strict=True)]
    return [_loss(llm, example) for example in examples]


def _loss(llm: EnsembleLLM, example: Example) -> float:
    text = example.references[0].strip()
    forms = [text, f" {text}"]
    scored = llm.score_chat(example.messages, forms) if example.messages else llm.score(example.prompt, forms)
    return -float(torch.tensor([score.total for score in scored], dtype=torch.float64).logsumexp(0))


def among(choices: Sequence[Sequence[float]]) -> list[Tensor]:
    """Normalize the log-probabilities of each example's choices, in nats."""
    return [torch.tensor(logprobs, dtype=torch.float64).log_softmax(0) for logprobs in choices]
