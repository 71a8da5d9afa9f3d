"""Choice of settings on the development questions."""

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
    """Choose the best setting on the development questions; the first of equals."""
    return max(settings, key=lambda setting: lab.outcome(setting, "dev").rank)


def best_main(lab: Lab, names: Sequence[str]) -> str:
    """Choose the member that is best alone on the development questions."""
    return ranked(lab, names)[0]


def ranked(lab: Lab, names: Sequence[str]) -> list[str]:
    """Sort members by their outcome on the development questions, the best first."""
    return sorted(names, key=lambda name: lab.alone(name, "dev").rank, reverse=True)


def searched(lab: Lab, setting: Setting, steps: Sequence[int] = SEARCH_STEPS) -> Setting:
    """Choose the rate and the number of steps of a setting of the paper's search.

    Args:
        lab: The lab.
        setting: The setting, whose fusion method is a `Deepen`.
        steps: The numbers of search steps to try.
    """
    assert isinstance(setting.fusion, Deepen)  # noqa: S101
    tried = [
        replace(setting, fusion=setting.fusion.model_copy(update={"relr": relr, "search_steps": count}))
        for relr, count in product(RELR, steps)
    ]
    return best_of(lab, tried)


def chosen_options(setting: Setting) -> str:
    """Format the chosen options of a setting of the search."""
    fusion = setting.fusion
    return f"η {fusion.relr:g}, T {fusion.search_steps}" if isinstance(fusion, Deepen) else ""
