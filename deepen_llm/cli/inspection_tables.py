"""Tables of ``deepen inspect``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepen_llm.cli.anchor_tables import named, show_anchors

if TYPE_CHECKING:
    from deepen_llm.diagnostics.anchor_comparison import AnchorComparison
    from deepen_llm.diagnostics.comparison import Comparison

_COLORS = {"worth trying": "green", "undecided": "yellow", "use one alone": "red", "not known": "yellow"}


def show(
    members: Sequence[dict[str, Any]], comparisons: Sequence[Comparison], anchored: Sequence[AnchorComparison]
) -> None:
    """Print all tables on the standard output stream.

    Args:
        members: Descriptions of members by `deepen_llm.cli.inspection.describe`.
        comparisons: Comparisons of members.
        anchored: Comparisons by shared anchors; empty if not requested.
    """
    console = Console(highlight=False)
    console.print(_member_table(members))
    if members[0]["right"] is not None:
        console.print("sure: the mean probability that a member gives its greedy answer.", style="dim")
    if comparisons:
        console.print(_token_table(comparisons))
        console.print(
            "one to one: with this main model, the share of the others' tokens that may\n"
            "    begin one of its tokens only.",
            style="dim",
        )
    if anchored:
        show_anchors(console, anchored)
    for comparison in comparisons:
        console.print()
        console.print(Text(named(comparison.members), style="bold"))
        console.print(_verdict_text(comparison))
        if comparison.main:
            console.print(Text(f"main model: {comparison.main}"))
    if any(comparison.verdict == "not known" for comparison in comparisons):
        console.print("\nGive a development set: deepen inspect ... --dataset dev.jsonl", style="dim")


def _verdict_text(comparison: Comparison) -> Text:
    verdict, colon, why = comparison.reason.partition(":")
    return Text.assemble(Text(verdict, style=_COLORS[comparison.verdict]), colon, why)


def _token_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Tokens in common", title_justify="left", title_style="bold")
    for name in ("members", "shared", "of the smallest", "main model", "one to one"):
        table.add_column(name, justify="left" if name in {"members", "main model"} else "right")
    for comparison in comparisons:
        names = comparison.members if len(comparison.members) == 2 else (f"all {len(comparison.members)}",)
        rows = zip_longest(
            names, [f"{comparison.shared:,}"], [f"{comparison.share:.0%}"], comparison.members, comparison.one_to_one
        )
        for name, shared, share, main, mapped in rows:
            table.add_row(name, shared, share, main, f"{mapped:.0%}")
        table.add_section()
    return table


def _member_table(members: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "", *(member["name"] for member in members), title="Members", title_justify="left", title_style="bold"
    )
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "architecture": lambda member: member["architecture"],
        "parameters": lambda member: f"{member['parameters']:,}",
        "dtype": lambda member: member["dtype"],
        "tokenizer": lambda member: member["tokenizer"],
        "vocabulary": lambda member: f"{member['vocabulary']:,}",
        "logits": lambda member: f"{member['logits']:,}",
        "end of text": lambda member: (
            "\n".join(f"{end['id']} {end['token']}" for end in member["end_of_text"]) or "none"
        ),
        "context window": lambda member: f"{member['context_length']:,}" if member["context_length"] else "unbounded",
        "chat template": lambda member: "yes" if member["chat_template"] else "no",
    }
    if members[0]["right"] is not None:
        rows |= {
            "right answers": lambda member: _percent(member["right"]),
            "sure when right": lambda member: _percent(member["sure_when_right"]),
            "sure when wrong": lambda member: _percent(member["sure_when_wrong"]),
        }
    for label, cell in rows.items():
        table.add_row(label, *(cell(member) for member in members))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
