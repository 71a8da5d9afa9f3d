"""What members answer alone: whether it is right, and how likely they find it themselves."""

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

_RIGHT = 0.5  # the least score of an answer that counts as right


@dataclass(frozen=True)
class Answered:
    """One member's answers to Q examples.

    Attributes:
        right: Which are right: their score is 0.5 or more.
        logprobs: The log-probability of each greedy answer, in nats; of choices, the likeliest one's among them.
    """

    right: tuple[bool, ...]
    logprobs: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of right answers."""
        return fmean(self.right)

    def sureness(self, *, right: bool) -> float | None:
        """The mean probability of its right or of its wrong answers; None without any."""
        found = [math.exp(said) for ok, said in zip(self.right, self.logprobs, strict=True) if ok == right]
        return fmean(found) if found else None


def ask(
    members: Sequence[Member],
    dataset: Dataset,
    *,
    metric: str | Metric | None = None,
    chat: bool = False,
    generation: GenerationOptions | None = None,
    batch_size: int = 16,
) -> dict[str, Answered]:
    """Ask each member alone every example.

    Args:
        members: The members.
        dataset: A development set, as `deepen_llm.tune` reads it.
        metric: How good an answer is (`deepen_llm.tune`).
        chat: Make each plain prompt a user's message.
        generation: Generation options; answers are greedy whatever they say.
        batch_size: How many examples to decode at a time.

    Returns:
        What each answered, by its name.

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
    alone = [EnsembleLLM([one], batch_size=batch_size, generation=read_by(options, [one])) for one in members]
    return {one.name: _answered(llm, examples, measure) for one, llm in zip(members, alone, strict=True)}


def _answered(llm: EnsembleLLM, examples: Sequence[Example], measure: Measure) -> Answered:
    if examples[0].choices:
        found = choice_logprobs(llm, examples)
        scores = [measure.of_choices(*one) for one in zip(examples, found, strict=True)]
        logprobs = [float(one.max()) for one in among(found)]
    else:
        outputs = answers(llm, examples, logprobs=0)
        scores = [measure.of_answer(one, output.text) for one, output in zip(examples, outputs, strict=True)]
        logprobs = [logprob(output) for output in outputs]
    return Answered(tuple(score >= _RIGHT for score in scores), tuple(logprobs))
