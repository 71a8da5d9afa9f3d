"""Scores over single options around the best ensemble, for pictures: the paper's figures for a user's own members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepen_llm.tuning.space import Candidate
from deepen_llm.tuning.tuner import Tuner

_VALUES: dict[str, tuple[float, ...]] = {
    "relr": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0),
    "search_steps": (1, 2, 3, 5, 7, 10, 15, 20),
    "rounds": (1, 2, 3, 4, 5, 7, 10),
    "self_mass": (0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
    "anchor_count": (64, 128, 256, 512, 1024, 2048, 4096),
}
_WITH_LOSS = frozenset({"search_steps", "rounds"})
_OF = {
    "relr": ("deepen",),
    "search_steps": ("deepen",),
    "rounds": ("bayes", "surface"),
    "anchor_count": ("deepen", "bayes"),
}


@dataclass(frozen=True)
class Point:
    """One value of an option, all else as in the best ensemble that has the option.

    Attributes:
        value: The option's value.
        score: From 0 to 1, on the examples that settings are chosen on.
        loss: Mean negative log-probability of a right answer, in nats; None where it was not asked for.
    """

    value: float
    score: float
    loss: float | None = None


@dataclass(frozen=True)
class Sweeps:
    """What pictures of a tuning are drawn from.

    Attributes:
        options: Points by the option's name.
        confidence: For each held-out example, the best ensemble's probability of its own answer.
        right: For each of them, that answer's score.
    """

    options: dict[str, tuple[Point, ...]]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


def sweep(tuner: Tuner, best: Candidate) -> Sweeps:
    """Score every option around the best ensemble, or around the best one that has the option.

    Args:
        tuner: Which has tried candidates.
        best: The best one.
    """
    options = {}
    for name, values in _VALUES.items():
        around = next((one for one in _best_first(tuner, best) if _takes(one, name)), None)
        if around is not None:
            options[name] = tuple(_points(tuner, around, name, values))
    return Sweeps(options, tuple(tuner.confidences(best)), tuple(tuner.scores(best, "held_out")))


def _best_first(tuner: Tuner, best: Candidate) -> list[Candidate]:
    same = [one for one in tuner.tried if set(one.candidate.members) == set(best.members)]
    return [best, *(one.candidate for one in sorted(same, key=lambda one: -one.score))]


def _takes(candidate: Candidate, option: str) -> bool:
    fusion = candidate.fusion
    if option in _OF:
        return fusion["method"] in _OF[option]
    return bool(fusion.get("self_mass", fusion["method"] == "bayes"))


def _points(tuner: Tuner, around: Candidate, name: str, values: Sequence[float]) -> list[Point]:
    found = []
    for value in values:
        if name == "anchor_count" and value > tuner.smallest_vocabulary(around):  # as many as there are, at most
            continue
        changed = {name: value, **({"anchor_choice": "random"} if name == "anchor_count" else {})}
        candidate = replace(around, fusion={**around.fusion, **changed})
        score = tuner.attempt(candidate, f"sweep of {name}")
        if score is None:  # it cannot be used
            continue
        loss = tuner.loss(candidate) if name in _WITH_LOSS else None
        found.append(Point(value, score, loss))
    return found
