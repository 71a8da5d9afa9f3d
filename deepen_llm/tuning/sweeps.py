"""Scores over single options around the best ensemble, for pictures: the paper's figures for a user's own members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepen_llm.fusion import METHODS
from deepen_llm.fusion.tunable import Number, Sweep
from deepen_llm.tuning.space import Candidate
from deepen_llm.tuning.tuner import Tuner


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
    options = dict[str, tuple[Point, ...]]()
    for name in swept():
        around = (one for one in _best_first(tuner, best) if _sweep_of(name, one.fusion))
        if candidate := next(around, None):
            options[name] = tuple(_points(tuner, candidate, name))
    return Sweeps(options, tuple(tuner.confidences(best)), tuple(tuner.scores(best, "held_out")))


def swept() -> dict[str, Number]:
    """The options of fusion methods that are swept, by name; of methods that share a name, the first one's."""
    found = dict[str, Number]()
    for one in (one for kind in METHODS.values() for one in kind.tunables):
        if isinstance(one, Number) and one.sweep:
            found.setdefault(one.name, one)
    return found


def _best_first(tuner: Tuner, best: Candidate) -> list[Candidate]:
    same = [one for one in tuner.tried if set(one.candidate.members) == set(best.members)]
    return [best, *(one.candidate for one in sorted(same, key=lambda one: -one.score))]


def _sweep_of(name: str, fusion: Mapping[str, Any]) -> Sweep | None:
    """How an option is swept around a fusion method with its options; None where it is of no use there."""
    kind = METHODS[fusion["method"]]
    for one in kind.tunables:
        if isinstance(one, Number) and one.sweep and one.name == name:
            values = dict(kind.model_construct(**{**fusion, **one.sweep.beside}))
            return one.sweep if one.applies(kind.tunables, values) else None
    return None


def _points(tuner: Tuner, around: Candidate, name: str) -> list[Point]:
    found, how = list[Point](), _sweep_of(name, around.fusion) or Sweep(())
    for value in how.values:
        if how.tokens and value > tuner.smallest_vocabulary(around):  # as many as there are, at most
            continue
        candidate = replace(around, fusion={**around.fusion, name: value, **how.beside})
        score = tuner.attempt(candidate, f"sweep of {name}")
        if score is None:  # it cannot be used
            continue
        loss = tuner.loss(candidate) if how.loss else None
        found.append(Point(value, score, loss))
    return found
