"""The study's questions about long answers that are decoded freely, each a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from research.chains.members import MEMBERS
from research.chains.settings import Option, Setting
from research.study.long_lab import LongLab
from research.study.tables import Table

BAYES: Option = {"method": "bayes", "rounds": 3}
METHODS: tuple[Option, ...] = ("deepen", {"method": "bayes", "rounds": 1}, BAYES, "surface")
GATES: tuple[Option, ...] = ("always", "unsure", "boundary", "safe")
WEIGHTS: tuple[Option | None, ...] = (None, "prompt", "entropy", "track", {"by": "track", "credit": "all"})


def methods(lab: LongLab) -> Table:
    """Every method with every main model."""
    return _crossed(lab, "Long answers: every method with every main model", METHODS)


def gates(lab: LongLab) -> Table:
    """Every gate, over surfaces and over three rounds of Bayes' rule."""
    return _crossed(lab, "Long answers: gates", ("surface", BAYES), gates=GATES)


def weights(lab: LongLab) -> Table:
    """Every kind of weights, over surfaces."""
    return _crossed(lab, "Long answers: weights", ("surface",), weights=WEIGHTS)


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
