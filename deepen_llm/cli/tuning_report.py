"""Report of ``deepen tune``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deepen_llm.tuning.intervals import Interval
from deepen_llm.tuning.result import Scored, Tuning
from deepen_llm.tuning.space import Candidate


def report(tuning: Tuning, tested: Interval | None) -> Iterator[RenderableType]:
    """Yield tables of members alone and together, the best ensemble, its expected score, and the advice."""
    yield _members(tuning)
    yield _best(tuning)
    yield _expectations(tuning, tested)
    yield Text(tuning.advice, "bold green" if tuning.verdict == "ensemble" else "bold yellow")
    if tuning.unusable:
        yield Text(f"{len(tuning.unusable)} settings could not be used; the first: {tuning.unusable[0]}", "dim")


def _members(tuning: Tuning) -> Table:
    table = Table(
        "members", "main model", "score", title=f"{tuning.metric} on the {tuning.chosen_on} examples that settings are "
        "chosen on, in %", title_justify="left", title_style="bold",
    )  # fmt: skip
    for i in sorted(range(len(tuning.names)), key=lambda i: -tuning.alone[i]):
        table.add_row(tuning.names[i], "", f"{tuning.alone[i]:.1%}")
    table.add_section()
    for scored in tuning.growth[1:]:
        table.add_row(_member_names(scored, tuning), tuning.names[scored.candidate.main], f"{scored.score:.1%}")
    return table


def _best(tuning: Tuning) -> Table:
    candidate = tuning.best.candidate
    table = Table(box=None, show_header=False, title="\nThe best ensemble", title_justify="left", title_style="bold")
    table.add_row("members", _member_names(tuning.best, tuning))
    table.add_row("main model", tuning.names[candidate.main])
    table.add_row("fusion", ", ".join(f"{name} {value}" for name, value in _set_options(dict(candidate.fusion))))
    table.add_row("weights", _weights(candidate))
    table.add_row("gate", str(candidate.gate))
    table.add_row("score", f"{tuning.best.score:.1%}, after {len(tuning.trials)} settings")
    return table


def _expectations(tuning: Tuning, tested: Interval | None) -> Table:
    estimate = tuning.estimate
    title = f"\nOn {estimate.examples} held-out examples, with 95 % intervals"
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold")
    table.add_row("the ensemble", _percent(estimate.best))
    table.add_row(f"{tuning.names[tuning.single]} alone", _percent(estimate.single))
    if tested:
        table.add_row("what is written, on the test set", _percent(tested))
    return table


def _member_names(scored: Scored, tuning: Tuning) -> str:
    return " + ".join(tuning.names[i] for i in scored.candidate.members)


def _weights(candidate: Candidate) -> str:
    weights: Any = candidate.weights
    if weights is None:
        return "equal"
    return str(weights) if isinstance(weights, dict) else " ".join(f"{weight:.2f}" for weight in weights)


def _set_options(fusion: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in fusion.items() if value is not None]


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
