"""What ``deepen inspect`` shows on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from deepen_llm.comparison import AnchorConsistency, Comparison
    from deepen_llm.fusion.agreement import Agreement

_EXAMPLES = 8  # anchors that are shown of each kind
_WIDTH = 66  # of a line of anchors
_COLOURS = {"fits well": "green", "may fit": "yellow", "does not fit": "red"}


def show(members: Sequence[dict[str, Any]], comparisons: Sequence[Comparison]) -> None:
    """Write everything to the standard output stream.

    Args:
        members: What `deepen_llm.cli.inspection.describe` tells of each.
        comparisons: How they compare.
    """
    console = Console(highlight=False)
    console.print(_member_table(members))
    if comparisons:
        console.print(_comparison_table(comparisons))
        console.print(
            "self: mean mass that an anchor's representation puts on the anchor itself.\n"
            "cosine: mean cosine similarity of two members' representations of an anchor,\n"
            "    the anchor itself left out (in brackets: with it).\n"
            "near: share of an anchor's 10 nearest other anchors that two members have in\n"
            "    common (in brackets: by chance).",
            style="dim",
        )
        console.print(_consistency_table(comparisons))
        console.print(
            "consistency: the same cosine for each anchor alone, in the calibrated space\n"
            "    (in brackets: between different anchors). A tenth of the anchors has at\n"
            "    most the consistency under 10 %, half of them that under 50 %.",
            style="dim",
        )
        for one in comparisons:
            console.print()
            console.print(_verdict(one))


def _member_table(members: Sequence[dict[str, Any]]) -> Table:
    table = Table("", *(one["name"] for one in members), title="Members", title_justify="left", title_style="bold")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "architecture": lambda one: one["architecture"],
        "parameters": lambda one: f"{one['parameters']:,}",
        "dtype": lambda one: one["dtype"],
        "tokenizer": lambda one: one["tokenizer"],
        "vocabulary": lambda one: f"{one['vocabulary']:,}",
        "logits": lambda one: f"{one['logits']:,}",
        "end of text": lambda one: "\n".join(f"{end['id']} {end['token']}" for end in one["end_of_text"]) or "none",
        "context window": lambda one: f"{one['context_length']:,}" if one["context_length"] else "unbounded",
        "chat template": lambda one: "yes" if one["chat_template"] else "no",
    }
    for label, cell in rows.items():
        table.add_row(label, *(cell(one) for one in members))
    return table


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Agreement on shared anchors", title_justify="left", title_style="bold")
    for name in ("members", "anchors", "space", "self", "cosine", "near"):
        table.add_column(name, justify="left" if name in {"members", "space"} else "right")
    for one in comparisons:
        named = one.members if len(one.members) == 2 else (f"all {len(one.members)}", "")
        table.add_row(named[0], str(one.anchors), "paper", *_measures(one.paper))
        table.add_row(named[1], "", "calibrated", *_measures(one.calibrated), end_section=True)
    return table


def _measures(found: Agreement | None) -> tuple[str, ...]:
    if found is None:
        return ("-", "-", "-")
    return (
        " ".join(f"{mass:.2f}" for mass in found.self_mass),
        f"{found.cosine_others:.2f} ({found.cosine:.2f})",
        f"{found.neighbours:.0%} ({found.chance:.0%})",
    )


def _named(one: Comparison) -> str:
    return " and ".join(one.members) if len(one.members) == 2 else f"all {len(one.members)}"


def _consistency_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Consistency of single anchors", title_justify="left", title_style="bold")
    table.add_column("members")
    for name in ("mean", "10 %", "25 %", "50 %", "75 %", "90 %"):
        table.add_column(name, justify="right")
    for one in comparisons:
        found = one.consistency
        mean = [f"{found.mean:.2f} ({found.chance:.2f})"] if found else ["-"]
        at = [f"{value:.2f}" for value in found.quantiles((0.1, 0.25, 0.5, 0.75, 0.9))] if found else ["-"] * 5
        table.add_row(Text(_named(one)), *mean, *at)
    return table


def _verdict(one: Comparison) -> Table:
    """Whether members fit together, why, and which anchors they see most and least alike."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = Text.assemble(_named(one), ": ", _coloured(one.fit.verdict)), "left"
    table.title_style = "bold"
    for reason in one.fit.reasons:
        table.add_row(_coloured(reason.verdict) if reason.verdict else Text("remark", style="dim"), Text(reason.text))
    if one.consistency:
        table.add_row("most alike", _tokens(one.most_consistent(_EXAMPLES)))
        table.add_row("least alike", _tokens(one.least_consistent(_EXAMPLES)))
    return table


def _coloured(verdict: str) -> Text:
    return Text(verdict, style=_COLOURS[verdict])


def _tokens(anchors: Sequence[AnchorConsistency]) -> Text:
    """Tokens on as many lines as they need, none of them broken."""
    lines = [""]
    for one in map(_quoted, (anchor.text for anchor in anchors)):
        if len(lines[-1]) + len(one) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += f"  {one}" if lines[-1] else one
    return Text("\n".join(lines))


def _quoted(text: str) -> str:
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return f"'{shown}'"
