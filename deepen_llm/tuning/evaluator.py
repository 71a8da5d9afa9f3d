"""Scores, losses and confidences of candidates, each computed once per tuning."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.requests.prompts import read_by
from deepen_llm.tuning.confidence import confidences, losses
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.journal import Journal
from deepen_llm.tuning.metrics import Measure
from deepen_llm.tuning.scoring import scores
from deepen_llm.tuning.space import Candidate

Part = Literal["search", "held_out"]


class Evaluator:
    """Scores candidates on the search part and the held-out part of a development set.

    Args:
        members: The recorded members.
        common: The arguments of `EnsembleLLM` that all candidates share.
        measure: The metric of answers.
        parts: The examples of each part.
        journal: Scores of an earlier run.
    """

    def __init__(
        self,
        members: Sequence[Member],
        common: dict[str, Any],
        measure: Measure,
        parts: dict[Part, list[Example]],
        journal: Journal,
    ) -> None:
        self.members = members
        self.parts = parts
        self._common = common
        self._measure = measure
        self._journal = journal

    def build(self, candidate: Candidate) -> EnsembleLLM:
        """Make the candidate's ensemble of recorded members."""
        members = [self.members[i] for i in candidate.members]
        settings = candidate.within(self._common)
        return EnsembleLLM(members, **settings | {"generation": read_by(settings["generation"], members)})

    def smallest_vocabulary(self, candidate: Candidate) -> int:
        """The smallest vocabulary size among a candidate's members."""
        return min(self.members[i].vocabulary.tokenizer_size for i in candidate.members)

    def scores(self, candidate: Candidate, part: Part = "search") -> list[float]:
        """Score a candidate, or read its scores from the journal."""
        return self._kept(
            f"{part} {candidate.key}", lambda: scores(self.build(candidate), self.parts[part], self._measure)
        )

    def losses(self, candidate: Candidate) -> list[float]:
        """Compute the losses of right answers to the search examples.

        Raises:
            DeepenError: A right answer does not fit a context window.
        """
        return self._kept(f"loss {candidate.key}", lambda: losses(self.build(candidate), self.parts["search"]))

    def confidences(self, candidate: Candidate) -> list[float]:
        """Compute the probabilities of answers to the held-out examples."""
        return self._kept(
            f"confidence {candidate.key}", lambda: confidences(self.build(candidate), self.parts["held_out"])
        )

    def _kept(self, key: str, compute: Callable[[], list[float]]) -> list[float]:
        values = self._journal.find(key)
        if values is None:
            values = compute()
            self._journal.keep(key, values)
        return values


def split(examples: Sequence[Example], held_out: float, seed: int) -> dict[Part, list[Example]]:
    """Draw the held-out part; both parts keep the order of the examples."""
    count = max(1, round(held_out * len(examples)))
    held = set(random.Random(seed).sample(range(len(examples)), count))  # noqa: S311 - a draw, not a secret
    return {
        "search": [example for i, example in enumerate(examples) if i not in held],
        "held_out": [example for i, example in enumerate(examples) if i in held],
    }
