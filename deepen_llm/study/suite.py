"""All tables of the study, by the names that the document and the command line use."""

from __future__ import annotations

from collections.abc import Callable

from deepen_llm.specialists import NAMES
from deepen_llm.study import experiments, sweeps
from deepen_llm.study.generalists import GENERALISTS
from deepen_llm.study.lab import Lab
from deepen_llm.study.tables import Table
from deepen_llm.study.tuning import ranked

FOUR = tuple(GENERALISTS)
THREE = tuple(NAMES)


def _best(count: int) -> Callable[[Lab], tuple[str, ...]]:
    return lambda lab: tuple(ranked(lab, FOUR)[:count])


TABLES: dict[str, Callable[[Lab], Table]] = {
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
"""What makes each table."""
