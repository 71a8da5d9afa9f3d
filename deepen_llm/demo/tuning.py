"""Choosing the demonstration's settings on the development questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from deepen_llm.demo.measure import measure
from deepen_llm.demo.settings import BATCH, Choice, DemoSettings
from deepen_llm.ensemble import EnsembleLLM
from deepen_llm.fusion import adapted_weights
from deepen_llm.members.base import Member
from deepen_llm.specialists import Question

PAPER_RELR = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
"""The relative ensemble learning rates that the authors search."""

RELR = (*PAPER_RELR, 0.5, 1.0, 2.0)
SEARCH_STEPS = (5, 10)

Tell = Callable[[str, int], None]
"""Is told what goes on, and how many questions were answered just now."""


def fusions() -> dict[str, list[dict[str, Any]]]:
    """Each method's settings to try, the gentlest first."""
    search = [{"method": "deepen", "relr": relr, "search_steps": steps} for relr, steps in product(RELR, SEARCH_STEPS)]
    return {"deepen": search, "bayes": [{"method": "bayes"}]}


def rounds(members: int) -> int:
    """How many times `tune` asks all questions."""
    return members + 2 * members * sum(map(len, fusions().values()))


def tune(members: list[Member], questions: Sequence[Question], tell: Tell) -> DemoSettings:
    """Try every main model, fusion setting and weighting; of equally good ones the first is kept.

    Args:
        members: The specialists.
        questions: The development questions.
        tell: For progress.
    """
    alone = {
        member.name: measure(
            EnsembleLLM([member], batch_size=BATCH),
            questions,
            lambda n, name=member.name: tell(name, n),  # type: ignore[misc]
        ).accuracy
        for member in members
    }
    weightings = {"Avg": None, "Adapt": tuple(adapted_weights(list(alone.values())))}
    best = [
        _best(members, questions, list(_choices(method, name, weights, len(members))), tell)
        for method, (name, weights) in product(fusions(), weightings.items())
    ]
    return DemoSettings(questions=len(questions), members=alone, ensembles=tuple(best))


def _choices(method: str, weighting: str, weights: tuple[float, ...] | None, members: int) -> Iterator[Choice]:
    for fusion, main_model in product(fusions()[method], range(members)):
        yield Choice(method=method, weighting=weighting, main_model=main_model, weights=weights, fusion=fusion)


def _best(members: list[Member], questions: Sequence[Question], choices: Sequence[Choice], tell: Tell) -> Choice:
    measured = []
    for choice in choices:
        label = f"{choice.method} {choice.weighting}"
        result = measure(choice.ensemble(members), questions, lambda n, label=label: tell(label, n))  # type: ignore[misc]
        measured.append(choice.model_copy(update={"accuracy": round(result.accuracy, 4)}))
    return max(measured, key=lambda choice: choice.accuracy)
