"""What ``deepen tune`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deepen_llm.tuning.intervals import Interval
from deepen_llm.tuning.result import Scored, Tuning
from deepen_llm.tuning.space import Candidate


def report(found: Tuning, tested: Interval | None) -> Iterator[RenderableType]:
    """Members alone and together, the best ensemble, what to expect of it, and the advice."""
    yield _members(found)
    yield _best(found)
    yield _expectations(found, tested)
    yield Text(found.advice, "bold green" if found.verdict == "ensemble" else "bold yellow")
    if found.unusable:
        yield Text(f"{len(found.unusable)} settings could not be used; the first: {found.unusable[0]}", "dim")


def _members(found: Tuning) -> Table:
    table = Table(
        "members", "main model", "score", title=f"{found.metric} on the {found.chosen_on} examples that settings are "
        "chosen on, in %", title_justify="left", title_style="bold",
    )  # fmt: skip
    for i in sorted(range(len(found.names)), key=lambda i: -found.alone[i]):
        table.add_row(found.names[i], "", f"{found.alone[i]:.1%}")
    table.add_section()
    for one in found.growth[1:]:
        table.add_row(_named(one, found), found.names[one.candidate.main], f"{one.score:.1%}")
    return table


def _best(found: Tuning) -> Table:
    candidate = found.best.candidate
    table = Table(box=None, show_header=False, title="\nThe best ensemble", title_justify="left", title_style="bold")
    table.add_row("members", _named(found.best, found))
    table.add_row("main model", found.names[candidate.main])
    table.add_row("fusion", ", ".join(f"{name} {value}" for name, value in _told(dict(candidate.fusion))))
    table.add_row("weights", _weights(candidate))
    table.add_row("gate", str(candidate.gate))
    table.add_row("score", f"{found.best.score:.1%}, after {len(found.trials)} settings")
    return table


def _expectations(found: Tuning, tested: Interval | None) -> Table:
    estimate = found.estimate
    title = f"\nOn {estimate.examples} held-out examples, with 95 % intervals"
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold")
    table.add_row("the ensemble", _percent(estimate.best))
    table.add_row(f"{found.names[found.single]} alone", _percent(estimate.single))
    if tested:
        table.add_row("what is written, on the test set", _percent(tested))
    return table


def _named(one: Scored, found: Tuning) -> str:
    return " + ".join(found.names[i] for i in one.candidate.members)


def _weights(candidate: Candidate) -> str:
    given: Any = candidate.weights
    if given is None:
        return "equal"
    return str(given) if isinstance(given, dict) else " ".join(f"{weight:.2f}" for weight in given)


def _told(fusion: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in fusion.items() if value is not None]


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
