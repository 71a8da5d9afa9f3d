"""Answers of single members: whether they are right, and their probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.requests.prompts import read_by
from deepen_llm.tuning.confidence import among, logprob
from deepen_llm.tuning.dataset import Dataset, Example, check_set, read_examples
from deepen_llm.tuning.lengths import check_lengths
from deepen_llm.tuning.metrics import Measure, Metric
from deepen_llm.tuning.scoring import answers, choice_logprobs

_RIGHT = 0.5  # the least score of a right answer


@dataclass(frozen=True)
class MemberAnswers:
    """One member's answers to Q examples.

    Attributes:
        right: Whether each answer is right, that is, its score is at least 0.5.
        logprobs: The log-probability of each greedy answer, in nats; for choices, of the likeliest one among them.
    """

    right: tuple[bool, ...]
    logprobs: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of right answers."""
        return fmean(self.right)

    def sureness(self, *, right: bool) -> float | None:
        """Compute the mean probability of the right or of the wrong answers; None without any."""
        pairs = zip(self.right, self.logprobs, strict=True)
        probabilities = [math.exp(logprob) for is_right, logprob in pairs if is_right == right]
        return fmean(probabilities) if probabilities else None


def ask(
    members: Sequence[Member],
    dataset: Dataset,
    *,
    metric: str | Metric | None = None,
    chat: bool = False,
    generation: GenerationOptions | None = None,
    batch_size: int = 16,
) -> dict[str, MemberAnswers]:
    """Answer every example with each member alone.

    Args:
        members: The members.
        dataset: A development set, as `deepen_llm.tune` reads it.
        metric: How good an answer is (`deepen_llm.tune`).
        chat: Make each plain prompt a user's message.
        generation: Generation options; answers are greedy whatever they say.
        batch_size: How many examples to decode at a time.

    Returns:
        The answers of each member, by its name.

    Raises:
        DatasetError: The set cannot be read, has fewer than 30 examples or one answer to all, or an example is too
            long for a member.
        ConfigError: The metric is unknown, or does not fit the examples.
    """
    options = generation or GenerationOptions()
    examples = read_examples(dataset, chat=chat)
    check_set(examples)
    measure = Measure.of(metric, examples)
    check_lengths(members, examples, variables=options.chat_template_kwargs)
    single = [EnsembleLLM([member], batch_size=batch_size, generation=read_by(options, [member])) for member in members]
    return {member.name: _answered(llm, examples, measure) for member, llm in zip(members, single, strict=True)}


def _answered(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> MemberAnswers:
    if examples[0].choices:
        choices = choice_logprobs(llm, examples)
        scores = [measure.of_choices(*pair) for pair in zip(examples, choices, strict=True)]
        logprobs = [float(normalized.max()) for normalized in among(choices)]
    else:
        outputs = answers(llm, examples, logprobs=0)
        scores = [measure.of_answer(example, output.text) for example, output in zip(examples, outputs, strict=True)]
        logprobs = [logprob(output) for output in outputs]
    return MemberAnswers(tuple(score >= _RIGHT for score in scores), tuple(logprobs))
