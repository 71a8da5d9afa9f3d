"""How good an answer is: 0 for useless, 1 for right."""

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
"""The worth, from 0 to 1, of an answer to an example."""


def exact_match(answer: str, example: Example) -> float:
    """Whether it is a reference, but for case and surrounding white space."""
    return float(answer.strip().casefold() in {one.strip().casefold() for one in example.references})


def contains(answer: str, example: Example) -> float:
    """Whether a reference stands in it, but for case."""
    return float(any(one.strip().casefold() in answer.casefold() for one in example.references))


def f1(answer: str, example: Example) -> float:
    """Words in common with the nearest reference (token F1 of SQuAD, arXiv 1606.05250), articles and marks left out."""
    return max(_overlap(_words(answer), _words(one)) for one in example.references)


GENERATED: dict[str, Metric] = {"exact_match": exact_match, "contains": contains, "f1": f1}
"""Metrics of generated answers, by name."""

CHOSEN = {"accuracy": False, "accuracy_per_byte": True}
"""Metrics of choices, by name: whether the likeliest one is the right one, in all or for each byte."""


@dataclass(frozen=True)
class Measure:
    """A metric with its name, as a set of examples needs one.

    Attributes:
        name: What it is called.
        metric: For generated answers; None for choices.
        per_byte: For choices: divide a choice's log-probability by its length.
    """

    name: str
    metric: Metric | None = None
    per_byte: bool = False

    @property
    def identity(self) -> str:
        """What tells metrics apart, in every process: the name, and of a function of one's own its code.

        Functions that it calls and objects that it looks at are known by their names only.
        """
        if self.metric is None or self.metric in GENERATED.values():
            return self.name
        return f"{self.name} {blake2b(repr(_parts(self.metric)).encode(), digest_size=8).hexdigest()}"

    @classmethod
    def of(cls, given: str | Metric | None, examples: Sequence[Example]) -> Measure:
        """The metric asked for, or the usual one.

        Raises:
            ConfigError: It is unknown, or does not fit the examples.
        """
        known = list(CHOSEN if examples[0].choices else GENERATED)
        given = given or known[0]
        if callable(given) and not examples[0].choices:
            return cls(getattr(given, "__name__", "metric"), given)
        if given not in known:
            kind = "choices" if examples[0].choices else "references"
            raise ConfigError(
                f"metric {given!r} is none for examples with {kind}{suggestion(given, known)}",
                hint=f"choose {' or '.join(known)}",
            )
        return cls(str(given), GENERATED.get(str(given)), CHOSEN.get(str(given), False))

    def of_choices(self, example: Example, logprobs: Sequence[float]) -> float:
        """1 where the right choice is likelier than all others.

        Args:
            example: The example.
            logprobs: Each choice's log-probability, in nats.
        """
        lengths = [len(choice.encode()) if self.per_byte else 1 for choice in example.choices]
        worth = [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]
        return float(worth[example.answer] == max(worth) and worth.count(max(worth)) == 1)

    def of_answer(self, example: Example, answer: str) -> float:
        """The metric of a generated answer.

        Raises:
            ConfigError: It is no number from 0 to 1.
        """
        worth = float(self.metric(answer, example)) if self.metric else 0.0
        if not 0 <= worth <= 1:
            raise ConfigError(f"metric {self.name} gave {worth} for {answer!r:.40}", hint="give numbers from 0 to 1")
        return worth


def _parts(value: object) -> object:
    """What a function is made of, without addresses in memory: the same in every process."""
    if isinstance(value, CodeType):
        return [value.co_code, value.co_names, [_parts(one) for one in value.co_consts]]
    if isinstance(value, partial):
        return [_parts(one) for one in (value.func, value.args, value.keywords)]
    if isinstance(value, Mapping):
        return [[_parts(key), _parts(one)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [_parts(one) for one in value]
    if isinstance(value, set | frozenset):  # whose order differs from process to process
        return sorted(repr(_parts(one)) for one in value)
    if code := getattr(value, "__code__", None):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        held = [getattr(one, "__code__", one) for one in cells]  # a function may hold itself
        return [_parts(one) for one in (code, getattr(value, "__defaults__", None), held)]
    known = isinstance(value, str | bytes | int | float | complex | re.Pattern | None)
    return repr(value) if known else type(value).__qualname__


def _words(text: str) -> Counter[str]:
    plain = text.casefold().translate(str.maketrans("", "", string.punctuation))
    return Counter(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def _overlap(left: Counter[str], right: Counter[str]) -> float:
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else float(left == right)
