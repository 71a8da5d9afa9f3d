"""Scores over single options around the best ensemble, for pictures: the paper's figures for a user's own members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deepen_llm.fusion import METHODS
from deepen_llm.fusion.tunable import Number, Sweep
from deepen_llm.tuning.result import Point, Sweeps
from deepen_llm.tuning.space import Candidate
from deepen_llm.tuning.tuner import Tuner


def sweep(tuner: Tuner, best: Candidate) -> Sweeps:
    """Score every option around the best ensemble, or around the best one tried that has the option."""
    options = dict[str, tuple[Point, ...]]()
    for name in swept():
        around = ((one, how) for one in _best_first(tuner, best) if (how := sweep_of(name, one.fusion)))
        if found := next(around, None):
            options[name] = tuple(_points(tuner, name, *found))
    return Sweeps(options, tuple(tuner.evaluator.confidences(best)), tuple(tuner.evaluator.scores(best, "held_out")))


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


def sweep_of(name: str, fusion: Mapping[str, Any]) -> Sweep | None:
    """How an option is swept around a fusion method with its options; None where it is of no use there."""
    kind = METHODS[fusion["method"]]
    for one in kind.tunables:
        if isinstance(one, Number) and one.sweep and one.name == name:
            values = dict(kind.model_construct(**{**fusion, **one.sweep.beside}))
            return one.sweep if one.applies(kind.tunables, values) else None
    return None


def _points(tuner: Tuner, name: str, around: Candidate, how: Sweep) -> list[Point]:
    found = list[Point]()
    for value in how.values:
        if how.tokens and value > tuner.evaluator.smallest_vocabulary(around):  # as many as there are, at most
            continue
        candidate = replace(around, fusion={**around.fusion, name: value, **how.beside})
        score = tuner.attempt(candidate, f"sweep of {name}")
        if score is None:  # it cannot be used
            continue
        loss = tuner.loss(candidate) if how.loss else None
        found.append(Point(value, score, loss))
    return found
