"""Tables of ``deepen inspect --anchors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from deepen_llm.diagnostics.agreement import Agreement
    from deepen_llm.diagnostics.anchor_comparison import AnchorComparison, AnchorConsistency

_EXAMPLES = 8  # anchors per line of examples
_WIDTH = 66  # of a line of anchors


def show_anchors(console: Console, anchored: Sequence[AnchorComparison]) -> None:
    """Print the agreement of members on shared anchors.

    Args:
        console: The console.
        anchored: The comparisons, at least one.
    """
    console.print(_agreement_table(anchored))
    console.print(
        "self: mean mass that an anchor's representation puts on the anchor itself.\n"
        "cosine: mean cosine similarity of two members' representations of an anchor,\n"
        "    the anchor itself left out (in brackets: with it).\n"
        "near: share of an anchor's 10 nearest other anchors that two members have in\n"
        "    common (in brackets: by chance).",
        style="dim",
    )
    console.print(_consistency_table(anchored))
    console.print(
        "consistency: the same cosine for each anchor alone, in the calibrated space\n"
        "    (in brackets: between different anchors). A tenth of the anchors has at\n"
        "    most the consistency under 10 %, half of them that under 50 %.",
        style="dim",
    )
    for comparison in anchored:
        table = Table.grid(padding=(0, 2))
        table.title, table.title_justify, table.title_style = Text(named(comparison.members)), "left", "bold"
        table.add_row("most alike", _tokens(comparison.most_consistent(_EXAMPLES)))
        table.add_row("least alike", _tokens(comparison.least_consistent(_EXAMPLES)))
        console.print(table)


def named(members: Sequence[str]) -> str:
    """Format a name of some members."""
    return " and ".join(members) if len(members) == 2 else f"all {len(members)}"


def _agreement_table(anchored: Sequence[AnchorComparison]) -> Table:
    table = Table(title="Agreement on shared anchors", title_justify="left", title_style="bold")
    for name in ("members", "anchors", "space", "self", "cosine", "near"):
        table.add_column(name, justify="left" if name in {"members", "space"} else "right")
    for comparison in anchored:
        names = comparison.members if len(comparison.members) == 2 else (f"all {len(comparison.members)}", "")
        table.add_row(names[0], str(comparison.anchors), "paper", *_measures(comparison.paper))
        table.add_row(names[1], "", "calibrated", *_measures(comparison.calibrated), end_section=True)
    return table


def _measures(agreement: Agreement) -> tuple[str, ...]:
    return (
        " ".join(f"{mass:.2f}" for mass in agreement.self_mass),
        f"{agreement.cosine_others:.2f} ({agreement.cosine:.2f})",
        f"{agreement.neighbors:.0%} ({agreement.chance:.0%})",
    )


def _consistency_table(anchored: Sequence[AnchorComparison]) -> Table:
    table = Table(title="Consistency of single anchors", title_justify="left", title_style="bold")
    table.add_column("members")
    for name in ("mean", "10 %", "25 %", "50 %", "75 %", "90 %"):
        table.add_column(name, justify="right")
    for comparison in anchored:
        consistency = comparison.consistency
        at = [f"{value:.2f}" for value in consistency.quantiles((0.1, 0.25, 0.5, 0.75, 0.9))]
        table.add_row(Text(named(comparison.members)), f"{consistency.mean:.2f} ({consistency.chance:.2f})", *at)
    return table


def _tokens(anchors: Sequence[AnchorConsistency]) -> Text:
    """Format tokens on several lines, without breaking any."""
    lines = [""]
    for token in map(_quoted, (anchor.text for anchor in anchors)):
        if len(lines[-1]) + len(token) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += f"  {token}" if lines[-1] else token
    return Text("\n".join(lines))


def _quoted(text: str) -> str:
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return f"'{shown}'"
