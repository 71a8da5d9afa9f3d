"""The study's questions about methods and spaces, each a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import torch

from deepen_llm.fusion import Bayes, Deepen, Exact, FusionMethod
from research.study.intervals import interval
from research.study.lab import Lab, Outcome, Setting
from research.study.tables import Row, Table, compared, percent, row
from research.study.tuning import best_main, best_of, chosen_options, ranked, searched

ROOM = {"memory_budget": "4GB"}
"""A number of rows that gives dense matrices: the study measures methods, not their speed."""

SPACES: dict[str, dict[str, float | None]] = {
    "temperature 100": {"temperature": 100.0, "self_mass": None},
    "self-mass 0.9": {"temperature": None, "self_mass": 0.9},
}
"""How sharp the rows are: the paper's way, and calibrated."""


def deepen(**options: object) -> Deepen:
    """The paper's method, with dense rows."""
    return Deepen(**{**ROOM, **options})


def bayes(**options: object) -> Bayes:
    """Bayes' rule once, with dense rows."""
    return Bayes(**{**ROOM, "rounds": 1, **options})


def rounds(count: int = 2, /, **options: object) -> Bayes:
    """Bayes' rule more than once, with dense rows."""
    return bayes(rounds=count, **options)


ROUNDS = (1, 2, 3, 5, 10, 20)
"""Numbers of rounds of Bayes' rule that are tried."""

METHODS: dict[str, Callable[..., FusionMethod]] = {"bayes": bayes, "bayes, two rounds": rounds, "deepen": deepen}
"""The methods that are compared over spaces; each takes options of the space."""


def members_alone(lab: Lab, groups: Sequence[Sequence[str]]) -> Table:
    """Each member alone, and for each group how often any of its members is right: the bound of choosing one answer."""
    rows: list[Row] = []
    for names in groups:
        alone = [lab.alone(name, "test") for name in ranked(lab, names)]
        rows += [row(lab, name, one, None) for name, one in zip(ranked(lab, names), alone, strict=True)]
        any_right = torch.stack([one.right for one in alone]).any(0)
        least = torch.stack([one.loss for one in alone]).amin(0)
        rows.append(row(lab, f"any of {', '.join(names)}", Outcome(any_right, least), alone[0]))
    return {"title": "Each member alone", "rows": rows}


def overlap(lab: Lab, groups: Sequence[Sequence[str]]) -> Table:
    """How many of a main model's tokens in the right answers each other member has too."""
    rows: list[Row] = []
    for names in groups:
        main = best_main(lab, names)
        for other in (name for name in names if name != main):
            shared, facts = lab.shared(main, other, "test")
            label = f"{main}'s tokens that {other} has"
            rows.append({"label": label, "note": "", "right": percent(interval(shared, facts))})
    return {"title": "What vocabularies share of the right answers", "measure": "shared, %", "rows": rows}


def methods(lab: Lab, names: Sequence[str]) -> Table:
    """Every method and weighting on one ensemble, beside the best member alone."""
    base = Setting(tuple(names), best_main(lab, names))
    adapted = lab.adapted(names)
    rows: list[tuple[str, Setting, str]] = [(f"{base.main} alone", Setting((base.main,), base.main), "")]
    for weighting, weights in (("Avg", None), ("Adapt", adapted)):
        weighted = replace(base, weights=weights)
        shown = "" if weights is None else "λ " + " ".join(f"{one:.2f}" for one in weights)
        rows.append((f"exact tokens, {weighting}", replace(weighted, fusion=Exact()), shown))
        rows.append((f"deepen, {weighting}, defaults", replace(weighted, fusion=deepen()), "η 0.15, T 5"))
        best = searched(lab, replace(weighted, fusion=deepen()))
        rows.append((f"deepen, {weighting}, tuned", best, chosen_options(best)))
        rows.append((f"bayes, {weighting}", replace(weighted, fusion=bayes()), shown))
        rows.append((f"bayes, two rounds, {weighting}", replace(weighted, fusion=rounds()), shown))
        best = best_of(lab, [replace(weighted, fusion=rounds(count)) for count in ROUNDS])
        chosen = next(count for count in ROUNDS if best.fusion == rounds(count))
        rows.append((f"bayes, rounds tuned, {weighting}", best, f"rounds {chosen}"))
    return compared(lab, f"Methods and weights: {', '.join(names)}", rows)


def against_each_other(lab: Lab, ensembles: Sequence[Sequence[str]]) -> Table:
    """For each ensemble and each main model, the other methods beside the tuned search."""
    rows: list[Row] = []
    for names in ensembles:
        for main in names:
            base = Setting(tuple(names), main)
            best = searched(lab, replace(base, fusion=deepen()), (5,))
            others: dict[str, FusionMethod] = {"bayes": bayes(), "bayes, two rounds": rounds()}
            others |= {"bayes, three rounds": rounds(3), "exact tokens": Exact()}
            theirs, place = lab.outcome(best, "test"), f"{' + '.join(names)}, main {main}"
            rows.append(row(lab, f"{place}: deepen", theirs, None, chosen_options(best)))
            for label, method in others.items():
                rows.append(row(lab, f"{place}: {label}", lab.outcome(replace(base, fusion=method), "test"), theirs))
    return {"title": "Every main model: the other methods against the tuned search", "rows": rows}


def spaces(lab: Lab, names: Sequence[str]) -> Table:
    """Both methods in every space: centring, row normalisation and the way to a temperature, each on and off."""
    base = Setting(tuple(names), best_main(lab, names))
    rows: list[tuple[str, Setting, str]] = [(f"{base.main} alone", Setting((base.main,), base.main), "")]
    crossed = product(METHODS.items(), (False, True), (True, False), SPACES.items())
    for (name, method), center, normalize, (sharp, given) in crossed:
        made = method(center=center, normalize_rows=normalize, anchors="pairwise", **given)
        setting = replace(base, fusion=made)
        setting = searched(lab, setting, (5,)) if method is deepen else setting
        label = f"{name}, {_switch('centred', center)}, {_switch('normalised', normalize)}, {sharp}"
        rows.append((label, setting, chosen_options(setting)))
    return compared(lab, f"The space: {', '.join(names)}", rows)


def sharing(lab: Lab, ensembles: Sequence[Sequence[str]]) -> Table:
    """Pairwise anchors beside joint ones."""
    rows: list[Row] = []
    for names, (label, method) in product(ensembles, METHODS.items()):
        base = Setting(tuple(names), best_main(lab, names))
        joint, pairwise = (replace(base, fusion=method(anchors=kind)) for kind in ("joint", "pairwise"))
        if method is deepen:
            joint, pairwise = searched(lab, joint, (5,)), searched(lab, pairwise, (5,))
        first, second = lab.outcome(joint, "test"), lab.outcome(pairwise, "test")
        rows.append(row(lab, f"{' + '.join(names)}: {label}, joint", first, None, chosen_options(joint)))
        rows.append(row(lab, f"{' + '.join(names)}: {label}, pairwise", second, first, chosen_options(pairwise)))
    return {"title": "Joint and pairwise anchors", "rows": rows}


def embeddings(lab: Lab, ensembles: Sequence[Sequence[str]]) -> Table:
    """Output embeddings beside input embeddings."""
    rows: list[Row] = []
    for names, (label, method) in product(ensembles, METHODS.items()):
        base = Setting(tuple(names), best_main(lab, names), method())
        pair = [base, replace(base, outputs=True)]
        pair = [searched(lab, one, (5,)) if method is deepen else one for one in pair]
        first, second = (lab.outcome(one, "test") for one in pair)
        rows.append(row(lab, f"{' + '.join(names)}: {label}, input", first, None, chosen_options(pair[0])))
        rows.append(row(lab, f"{' + '.join(names)}: {label}, output", second, first, chosen_options(pair[1])))
    return {"title": "Input and output embeddings", "rows": rows}


def _switch(name: str, on: bool) -> str:
    return name if on else f"not {name}"
