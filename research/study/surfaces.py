"""The study's questions about fusion by surfaces, each a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepen_llm.fusion import EntropyWeights, Exact, FusionMethod, PromptWeights, Surface, TrackWeights
from deepen_llm.fusion.gate import Gate
from research.study.experiments import bayes, deepen, rounds
from research.study.geometric import GeometricMean
from research.study.lab import Lab, Setting
from research.study.tables import Row, Table, compared, row

OTHERS: dict[str, FusionMethod] = {
    "deepen": deepen(),
    "exact tokens": Exact(),
    "bayes": bayes(),
    "bayes, two rounds": rounds(2),
    "bayes, three rounds": rounds(3),
}
"""The methods that surfaces are compared with, at their defaults."""

PARTS: dict[str, dict[str, object]] = {
    "one round": {"rounds": 1},
    "three rounds": {"rounds": 3},
    "straddle 0": {"straddle": 0},
    "straddle 1": {"straddle": 1},
    "straddle 2": {"straddle": 2},
    "straddle 8": {"straddle": 8},
    "no guess": {"guess": 0.0},
    "no abstention": {"abstain": False},
    "no floor": {"floor": 0.0},
}
"""Settings of which one part differs from the default."""


def ensembles(lab: Lab, crossed: Sequence[tuple[Sequence[str], str]]) -> Table:
    """Every method on ensembles, each with its main model's own answers first."""
    rows: list[Row] = []
    for names, main in crossed:
        base = Setting(tuple(names), main)
        alone, place = lab.alone(main, "test"), f"{main} + {', '.join(name for name in names if name != main)}"
        rows.append(row(lab, f"{main} alone", alone, None))
        for label, method in (*OTHERS.items(), ("surface", Surface()), ("surface, geometric mean", GeometricMean())):
            rows.append(row(lab, f"{place}: {label}", lab.outcome(replace(base, fusion=method), "test"), alone))
    return {"title": "Surfaces beside the other methods, at their defaults", "rows": rows}


def parts(lab: Lab, names: Sequence[str], main: str) -> Table:
    """Surfaces as they are, and with one part changed at a time."""
    base = Setting(tuple(names), main, Surface())
    rows = [("surface", base, "")]
    rows += [(label, replace(base, fusion=Surface(**given)), "") for label, given in PARTS.items()]
    return compared(lab, f"The parts of surface: {main} + {', '.join(name for name in names if name != main)}", rows)


def weights(lab: Lab, names: Sequence[str], main: str) -> Table:
    """Surfaces with every kind of weights, at their defaults."""
    base = Setting(tuple(names), main, Surface())
    rows = [
        ("equal (Avg)", base, ""),
        ("by score (Adapt)", replace(base, weights=lab.adapted(names)), ""),
        ("by prompt", replace(base, weights=PromptWeights()), ""),
        ("by entropy of the evidence", replace(base, weights=EntropyWeights()), ""),
        ("by track", replace(base, weights=TrackWeights()), ""),
    ]
    return compared(lab, f"Surfaces, weights: {main} + {', '.join(name for name in names if name != main)}", rows)


def gates(lab: Lab, names: Sequence[str], main: str) -> Table:
    """Surfaces with every gate."""
    base = Setting(tuple(names), main, Surface())
    shut = [Gate(when="unsure"), Gate(when="boundary"), Gate(when="safe")]
    rows = [("always", base, ""), *((one.when, replace(base, gate=one), "") for one in shut)]
    return compared(lab, f"Surfaces, gates: {main} + {', '.join(name for name in names if name != main)}", rows)
