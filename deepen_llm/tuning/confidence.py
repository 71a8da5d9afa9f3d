"""How sure an ensemble is: of its own answers, and of the right ones."""

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
    """The probability of each greedy answer, all its tokens together; of choices, the likeliest one's among them."""
    if examples[0].choices:
        return [float(one.exp().max()) for one in among(choice_logprobs(llm, examples))]
    return [math.exp(logprob(output)) for output in answers(llm, examples, logprobs=0)]


def logprob(output: Output) -> float:
    """The log-probability of a generated answer, all its tokens together, in nats."""
    return sum(token.logprob for token in output.logprobs or ())


def losses(llm: EnsembleLLM, examples: Sequence[Example]) -> list[float]:
    """Negative log-probability, in nats, of a right answer: of the first reference, with a space before it or none.

    Of choices, the right one's among them.
    """
    if examples[0].choices:
        found = among(choice_logprobs(llm, examples))
        return [-float(one[example.answer]) for one, example in zip(found, examples, strict=True)]
    return [_loss(llm, example) for example in examples]


def _loss(llm: EnsembleLLM, example: Example) -> float:
    text = example.references[0].strip()
    forms = [text, f" {text}"]
    found = llm.score_chat(example.messages, forms) if example.messages else llm.score(example.prompt, forms)
    return -float(torch.tensor([one.total for one in found], dtype=torch.float64).logsumexp(0))


def among(choices: Sequence[Sequence[float]]) -> list[Tensor]:
    """The log-probability of each choice of each example among that example's choices, in nats."""
    return [torch.tensor(one, dtype=torch.float64).log_softmax(0) for one in choices]
