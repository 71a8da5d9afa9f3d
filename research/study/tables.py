"""Tables of outcomes on the test set, each row compared with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from research.study.intervals import BootstrapInterval, interval
from research.study.lab import Lab, Outcome, Setting

Row = dict[str, Any]
"""A row, as JSON holds it."""

Table = dict[str, Any]
"""A table, as JSON holds it: ``title``, ``baseline`` and ``rows``."""


def row(lab: Lab, label: str, outcome: Outcome, baseline: Outcome | None, note: str = "") -> Row:
    """Make a row of a table, of outcomes on the test set.

    Args:
        lab: The lab, for the facts.
        label: The label.
        outcome: The outcome.
        baseline: The outcome of the table's baseline; None for the baseline itself.
        note: The options chosen on the development questions.
    """
    facts = lab.facts("test")
    made: Row = {
        "label": label,
        "note": note,
        "right": percent(interval(outcome.right, facts)),
        "loss": _plain(interval(outcome.loss, facts)),
    }
    if baseline is not None:
        made["right_gain"] = percent(interval(outcome.right.double() - baseline.right.double(), facts))
        made["loss_gain"] = _plain(interval(outcome.loss - baseline.loss, facts))
    return made


def compared(
    lab: Lab, title: str, settings: Sequence[tuple[str, Setting, str]], baseline: Setting | None = None
) -> Table:
    """A table of settings.

    Args:
        lab: Where they are tried.
        title: What the table shows.
        settings: For each row its label, its setting and a note.
        baseline: What every row is compared with; by default the first row.
    """
    base = baseline or settings[0][1]
    other = lab.outcome(base, "test")
    rows = [
        row(lab, label, lab.outcome(setting, "test"), None if setting == base else other, note)
        for label, setting, note in settings
    ]
    return {"title": title, "rows": rows}


def percent(given: BootstrapInterval) -> list[float]:
    """Convert a share with its interval to percent, for JSON."""
    return [round(100 * one, 2) for one in given]


def _plain(given: BootstrapInterval) -> list[float]:
    return [round(one, 4) for one in given]
