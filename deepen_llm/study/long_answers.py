"""The study's questions about long answers that are decoded freely, each a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from deepen_llm.study.chains.measure import Answers, answered, load
from deepen_llm.study.chains.members import MEMBERS
from deepen_llm.study.chains.questions import questions
from deepen_llm.study.chains.settings import Option, Setting
from deepen_llm.study.chains.tables import row
from deepen_llm.study.tables import Row, Table

COUNT = 100
"""How many test questions each setting answers."""

BAYES: Option = {"method": "bayes", "rounds": 3}
METHODS: tuple[Option, ...] = ("deepen", {"method": "bayes", "rounds": 1}, BAYES, "surface")
GATES: tuple[Option, ...] = ("always", "unsure", "boundary")
WEIGHTS: tuple[Option | None, ...] = (None, "prompt", "entropy")
PARTS: tuple[dict[str, Any], ...] = (
    {},
    {"rounds": 1},
    {"straddle": 0},
    {"straddle": 1},
    {"reread": False},
    {"abstain": False},
    {"guess": 0},
    {"floor": 0},
)


class LongLab:
    """Three members and the questions that they answer with several steps.

    Args:
        models: The folder that ``python -m deepen_llm.study.chains train`` filled.
        count: How many test questions.
    """

    def __init__(self, models: Path, count: int = COUNT) -> None:
        self._members, self._chains = load(models), questions("test")[:count]
        self._known: dict[str, Answers] = {}

    def row(self, setting: Setting) -> Row:
        """What came of a setting, beside its main model alone."""
        found = row(self._chains, self._answers(setting), self._answers(Setting(setting.main)))
        return {
            "label": f"{setting.main}: {setting.label}",
            "note": "",
            "right": found["right"],
            **({"right_gain": found["right_gain"]} if "right_gain" in found else {}),
            "lone": [found["right_with_a_step_of_one"], found["right_without"]],
            "derailed": found["derailed"],
            "derailments": found["derailments"],
            "tokens": found["tokens"][1],
            "fused": found["fused"],
            "speed": found["tokens_per_second"],
        }

    def _answers(self, setting: Setting) -> Answers:
        key = repr(setting)
        if key not in self._known:
            self._known[key] = answered(self._members, setting, self._chains)
        return self._known[key]


def methods(lab: LongLab) -> Table:
    """Every method with every main model."""
    return _crossed(lab, "Long answers: every method with every main model", METHODS)


def gates(lab: LongLab) -> Table:
    """Every gate, over surfaces and over three rounds of Bayes' rule."""
    return _crossed(lab, "Long answers: gates", ("surface", BAYES), gates=GATES)


def weights(lab: LongLab) -> Table:
    """Every kind of weights, over surfaces and over three rounds of Bayes' rule."""
    return _crossed(lab, "Long answers: weights", ("surface", BAYES), weights=WEIGHTS)


def parts(lab: LongLab) -> Table:
    """Surfaces with one part changed at a time."""
    return _crossed(lab, "Long answers: the parts of surface", [{"method": "surface", **given} for given in PARTS])


def _crossed(
    lab: LongLab,
    title: str,
    fusions: Sequence[Option],
    gates: Sequence[Option] = ("always",),
    weights: Sequence[Option | None] = (None,),
) -> Table:
    rows = []
    for main in MEMBERS:
        rows.append(lab.row(Setting(main)))
        rows += [lab.row(Setting(main, *one)) for one in product(fusions, gates, weights)]
    return {"title": title, "rows": rows}
