"""Metrics of answers, from 0 (useless) to 1 (right)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from types import CodeType

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.tuning.dataset import Example

Metric = Callable[[str, Example], float]
"""A function from an answer and its example to a score from 0 to 1."""


def exact_match(answer: str, example: Example) -> float:
    """Score 1 if the answer equals a reference, without case and surrounding white space."""
    return float(answer.strip().casefold() in {reference.strip().casefold() for reference in example.references})


def contains(answer: str, example: Example) -> float:
    """Score 1 if the answer contains a reference, without case."""
    return float(any(reference.strip().casefold() in answer.casefold() for reference in example.references))


def f1(answer: str, example: Example) -> float:
    """Score by the words shared with the nearest reference (token F1 of SQuAD, arXiv 1606.05250)."""
    return max(_overlap(_words(answer), _words(reference)) for reference in example.references)


GENERATED: dict[str, Metric] = {"exact_match": exact_match, "contains": contains, "f1": f1}
"""Metrics of generated answers, by name."""

CHOSEN = {"accuracy": False, "accuracy_per_byte": True}
"""Metrics of choices, by name: whether the log-probability of a choice is divided by its bytes."""


@dataclass(frozen=True)
class Measure:
    """A metric with its name.

    Attributes:
        name: The name.
        metric: The metric of generated answers; None for choices.
        per_byte: Whether the log-probability of a choice is divided by its bytes.
    """

    name: str
    metric: Metric | None = None
    per_byte: bool = False

    @property
    def identity(self) -> str:
        """A key of the metric that is equal in every process: the name, and the code of a user's function.

        Functions that it calls and objects that it reads enter by their names only.
        """
        if self.metric is None or self.metric in GENERATED.values():
            return self.name
        return f"{self.name} {blake2b(repr(_parts(self.metric)).encode(), digest_size=8).hexdigest()}"

    @classmethod
    def of(cls, requested: str | Metric | None, examples: Sequence[Example]) -> Measure:
        """Find a metric by its name, or the default one.

        Raises:
            ConfigError: The metric is unknown, or does not fit the examples.
        """
        known = list(CHOSEN if examples[0].choices else GENERATED)
        requested = requested or known[0]
        if callable(requested) and not examples[0].choices:
            return cls(getattr(requested, "__name__", "metric"), requested)
        if requested not in known:
            kind = "choices" if examples[0].choices else "references"
            raise ConfigError(
                f"expected a metric of examples with {kind}, got {requested!r}{suggestion(requested, known)}",
                hint=f"choose {' or '.join(known)}",
            )
        return cls(str(requested), GENERATED.get(str(requested)), CHOSEN.get(str(requested), False))

    def of_choices(self, example: Example, logprobs: Sequence[float]) -> float:
        """Score 1 if the right choice is likelier than all others.

        Args:
            example: The example.
            logprobs: The log-probability of each choice, in nats.
        """
        lengths = [len(choice.encode()) if self.per_byte else 1 for choice in example.choices]
        scores = [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]
        return float(scores[example.answer] == max(scores) and scores.count(max(scores)) == 1)

    def of_answer(self, example: Example, answer: str) -> float:
        """Score a generated answer.

        Raises:
            ConfigError: The score is no number from 0 to 1.
        """
        score = float(self.metric(answer, example)) if self.metric else 0.0
        if not 0 <= score <= 1:
            raise ConfigError(
                f"expected a score from 0 to 1 of metric {self.name}, got {score} for {answer!r:.40}",
                hint="correct the metric",
            )
        return score


def _parts(value: object) -> object:
    """The parts of a function without memory addresses, equal in every process."""
    if isinstance(value, CodeType):
        return [value.co_code, value.co_names, [_parts(part) for part in value.co_consts]]
    if isinstance(value, partial):
        return [_parts(part) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, Mapping):
        return [[_parts(key), _parts(part)] for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [_parts(part) for part in value]
    if isinstance(value, set | frozenset):  # their order differs between processes
        return sorted(repr(_parts(part)) for part in value)
    if code := getattr(value, "__code__", None):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        contents = [getattr(part, "__code__", part) for part in cells]  # a function may refer to itself
        return [_parts(part) for part in (code, getattr(value, "__defaults__", None), contents)]
    known = isinstance(value, str | bytes | int | float | complex | re.Pattern | None)
    return repr(value) if known else type(value).__qualname__


def _words(text: str) -> Counter[str]:
    plain = text.casefold().translate(str.maketrans("", "", string.punctuation))
    return Counter(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def _overlap(left: Counter[str], right: Counter[str]) -> float:
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else float(left == right)
