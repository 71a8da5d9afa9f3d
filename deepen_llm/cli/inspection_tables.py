"""What ``deepen inspect`` shows on a terminal."""

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

_COLOURS = {"worth trying": "green", "undecided": "yellow", "use one alone": "red", "not known": "yellow"}


def show(
    members: Sequence[dict[str, Any]], comparisons: Sequence[Comparison], anchored: Sequence[AnchorComparison]
) -> None:
    """Write everything to the standard output stream.

    Args:
        members: What `deepen_llm.cli.inspection.describe` tells of each.
        comparisons: How they compare.
        anchored: How they compare on shared anchors; empty where that is not asked for.
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
    for one in comparisons:
        console.print()
        console.print(Text(named(one.members), style="bold"))
        console.print(_coloured(one))
        if one.main:
            console.print(Text(f"main model: {one.main}"))
    if any(one.verdict == "not known" for one in comparisons):
        console.print("\nGive a development set: deepen inspect ... --dataset dev.jsonl", style="dim")


def _coloured(one: Comparison) -> Text:
    verdict, colon, why = one.reason.partition(":")
    return Text.assemble(Text(verdict, style=_COLOURS[one.verdict]), colon, why)


def _token_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Tokens in common", title_justify="left", title_style="bold")
    for name in ("members", "shared", "of the smallest", "main model", "one to one"):
        table.add_column(name, justify="left" if name in {"members", "main model"} else "right")
    for one in comparisons:
        named = one.members if len(one.members) == 2 else (f"all {len(one.members)}",)
        rows = zip_longest(named, [f"{one.shared:,}"], [f"{one.share:.0%}"], one.members, one.one_to_one)
        for name, shared, share, main, mapped in rows:
            table.add_row(name, shared, share, main, f"{mapped:.0%}")
        table.add_section()
    return table


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
    if members[0]["right"] is not None:
        rows |= {
            "right answers": lambda one: _percent(one["right"]),
            "sure when right": lambda one: _percent(one["sure_when_right"]),
            "sure when wrong": lambda one: _percent(one["sure_when_wrong"]),
        }
    for label, cell in rows.items():
        table.add_row(label, *(cell(one) for one in members))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
