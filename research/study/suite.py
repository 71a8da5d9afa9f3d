"""All tables of the study, by their names in the document and the command line."""

from __future__ import annotations

from collections.abc import Callable

from deepen_llm.specialists import NAMES
from research.study import experiments, inspection, long_answers, surfaces, sweeps
from research.study.generalists import GENERALISTS
from research.study.lab import Lab
from research.study.tables import Table
from research.study.tuning import ranked

FOUR = tuple(GENERALISTS)
THREE = tuple(NAMES)
SMALL = ("pliny", *THREE)
"""A main model of a small vocabulary with the specialists."""


def _best(count: int, among: tuple[str, ...] = FOUR) -> Callable[[Lab], tuple[str, ...]]:
    return lambda lab: tuple(ranked(lab, among)[:count])


def _ensembles(lab: Lab) -> list[tuple[tuple[str, ...], str]]:
    """Members and main models: each generalist in turn, specialists, a small vocabulary, a weak member, all seven."""
    best, first = _best(1)(lab)[0], _best(1, THREE)(lab)[0]
    found = [(FOUR, main) for main in FOUR]
    found += [(THREE, first), (SMALL, "pliny"), ((best, "pliny"), best), (("pliny", best), "pliny")]
    return [*found, ((*FOUR, *THREE), best)]


TABLES: dict[str, Callable[[Lab], Table]] = {
    "long-methods": lambda lab: long_answers.methods(lab.long),
    "long-gates": lambda lab: long_answers.gates(lab.long),
    "long-weights": lambda lab: long_answers.weights(lab.long),
    "surface": lambda lab: surfaces.ensembles(lab, _ensembles(lab)),
    "surface-parts-small": lambda lab: surfaces.parts(lab, SMALL, "pliny"),
    "surface-weights-small": lambda lab: surfaces.weights(lab, SMALL, "pliny"),
    "surface-weights-four": lambda lab: surfaces.weights(lab, FOUR, _best(1)(lab)[0]),
    "surface-gates-small": lambda lab: surfaces.gates(lab, SMALL, "pliny"),
    "surface-gates-four": lambda lab: surfaces.gates(lab, FOUR, _best(1)(lab)[0]),
    "inspection": lambda lab: inspection.inspection(lab, (*FOUR, *THREE)),
    "members": lambda lab: experiments.members_alone(lab, (FOUR, THREE)),
    "overlap": lambda lab: experiments.overlap(lab, (FOUR, THREE)),
    "methods-four": lambda lab: experiments.methods(lab, FOUR),
    "methods-two": lambda lab: experiments.methods(lab, _best(2)(lab)),
    "methods-three": lambda lab: experiments.methods(lab, THREE),
    "mains": lambda lab: experiments.against_each_other(lab, (FOUR,)),
    "spaces-four": lambda lab: experiments.spaces(lab, FOUR),
    "sharing": lambda lab: experiments.sharing(lab, (_best(3)(lab), FOUR, THREE)),
    "embeddings": lambda lab: experiments.embeddings(lab, (FOUR, THREE)),
    "rates": lambda lab: sweeps.rates(lab, FOUR),
    "steps": lambda lab: sweeps.steps(lab, FOUR),
    "rounds-four": lambda lab: sweeps.repeats(lab, FOUR),
    "rounds-three": lambda lab: sweeps.repeats(lab, THREE),
    "masses-four": lambda lab: sweeps.masses(lab, FOUR),
    "masses-three": lambda lab: sweeps.masses(lab, THREE),
    "anchors-four": lambda lab: sweeps.anchors(lab, FOUR),
    "anchors-three": lambda lab: sweeps.anchors(lab, THREE),
    "weights-four": lambda lab: sweeps.weights(lab, FOUR),
    "weights-three": lambda lab: sweeps.weights(lab, THREE),
    "gates-four": lambda lab: sweeps.gates(lab, FOUR),
    "gates-three": lambda lab: sweeps.gates(lab, THREE),
    "main-weights": lambda lab: sweeps.main_weights(lab, FOUR),
    "counts": lambda lab: sweeps.counts(lab, FOUR, "More and more generalists"),
    "seven": lambda lab: sweeps.counts(lab, (*FOUR, *THREE), "Generalists and specialists together"),
}
"""The function that makes each table."""
