"""Choice of the demonstration's settings on the development questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from deepen_llm.demo.measure import measure
from deepen_llm.demo.settings import BATCH, Choice, DemoSettings
from deepen_llm.fusion import METHODS, STARTING_METHODS, adapted_weights
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.specialists import Question

OnProgress = Callable[[str, int], None]
"""A callback: the name of the ensemble, and the number of questions of the last batch."""


def fusions() -> dict[str, list[dict[str, Any]]]:
    """Each method's settings to try: those that it says to begin with, the gentlest first."""
    return {name: [{"method": name, **options} for options in METHODS[name].starts] for name in STARTING_METHODS}


def rounds(members: int) -> int:
    """Count how many times `tune` answers all questions."""
    return members + 2 * members * sum(map(len, fusions().values()))


def tune(members: list[Member], questions: Sequence[Question], on_progress: OnProgress) -> DemoSettings:
    """Try every main model, fusion setting and weighting; keep the first of equally accurate ones.

    Args:
        members: The specialists.
        questions: The development questions.
        on_progress: Called after every batch.
    """
    alone = {
        member.name: _accuracy(EnsembleLLM([member], batch_size=BATCH), questions, member.name, on_progress)
        for member in members
    }
    weightings = {"Avg": None, "Adapt": tuple(adapted_weights(list(alone.values())))}
    best = [
        _best(members, questions, _choices(method, name, weights, len(members)), on_progress)
        for method, (name, weights) in product(fusions(), weightings.items())
    ]
    return DemoSettings(questions=len(questions), members=alone, ensembles=tuple(best))


def _choices(method: str, weighting: str, weights: tuple[float, ...] | None, members: int) -> Iterator[Choice]:
    for fusion, main_model in product(fusions()[method], range(members)):
        yield Choice(method=method, weighting=weighting, main_model=main_model, weights=weights, fusion=fusion)


def _best(
    members: list[Member], questions: Sequence[Question], choices: Iterable[Choice], on_progress: OnProgress
) -> Choice:
    measured = [
        choice.model_copy(update={"accuracy": _accuracy(choice.ensemble(members), questions, choice.name, on_progress)})
        for choice in choices
    ]
    return max(measured, key=lambda choice: choice.accuracy)


def _accuracy(llm: EnsembleLLM, questions: Sequence[Question], name: str, on_progress: OnProgress) -> float:
    return round(measure(llm, questions, lambda count: on_progress(name, count)).accuracy, 4)
