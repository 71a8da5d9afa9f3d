"""Choosing settings on the development questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from deepen_llm.fusion import Deepen
from research.study.lab import Lab, Setting

RELR = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.5, 1.0)
"""The relative ensemble learning rates that are tried: those that the authors search, and two higher ones."""

SEARCH_STEPS = (5, 10)
"""The numbers of search steps that are tried."""


def best_of(lab: Lab, settings: Iterable[Setting]) -> Setting:
    """The setting that does best on the development questions; of equals the first."""
    return max(settings, key=lambda setting: lab.outcome(setting, "dev").rank)


def best_main(lab: Lab, names: Sequence[str]) -> str:
    """The member that does best alone on the development questions."""
    return ranked(lab, names)[0]


def ranked(lab: Lab, names: Sequence[str]) -> list[str]:
    """Members, the best one on the development questions first."""
    return sorted(names, key=lambda name: lab.alone(name, "dev").rank, reverse=True)


def searched(lab: Lab, setting: Setting, steps: Sequence[int] = SEARCH_STEPS) -> Setting:
    """A setting of the paper's search with the rate and the number of steps that do best.

    Args:
        lab: Where it is tried.
        setting: Its fusion method is a `Deepen`.
        steps: Numbers of search steps to try.
    """
    assert isinstance(setting.fusion, Deepen)  # noqa: S101
    tried = [
        replace(setting, fusion=setting.fusion.model_copy(update={"relr": relr, "search_steps": count}))
        for relr, count in product(RELR, steps)
    ]
    return best_of(lab, tried)


def told(setting: Setting) -> str:
    """What was chosen for a setting of the search, in words."""
    fusion = setting.fusion
    return f"η {fusion.relr:g}, T {fusion.search_steps}" if isinstance(fusion, Deepen) else ""
