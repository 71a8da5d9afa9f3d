"""What ``deepen inspect`` shows on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from deepen_llm.anchor_comparison import AnchorComparison, AnchorConsistency
    from deepen_llm.comparison import Comparison
    from deepen_llm.fusion.agreement import Agreement

_EXAMPLES = 8  # anchors that are shown of each kind
_WIDTH = 66  # of a line of anchors
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
        _show_anchors(console, anchored)
    for one in comparisons:
        console.print()
        console.print(Text(_named(one.members), style="bold"))
        console.print(_coloured(one))
        if one.main:
            console.print(Text(f"main model: {one.main}"))
    if any(one.verdict == "not known" for one in comparisons):
        console.print("\nGive a development set: deepen inspect ... --dataset dev.jsonl", style="dim")


def _coloured(one: Comparison) -> Text:
    verdict, colon, why = one.reason.partition(":")
    return Text.assemble(Text(verdict, style=_COLOURS[one.verdict]), colon, why)


def _named(members: Sequence[str]) -> str:
    return " and ".join(members) if len(members) == 2 else f"all {len(members)}"


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


def _show_anchors(console: Console, anchored: Sequence[AnchorComparison]) -> None:
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
    for one in anchored:
        table = Table.grid(padding=(0, 2))
        table.title, table.title_justify, table.title_style = Text(_named(one.members)), "left", "bold"
        table.add_row("most alike", _tokens(one.most_consistent(_EXAMPLES)))
        table.add_row("least alike", _tokens(one.least_consistent(_EXAMPLES)))
        console.print(table)


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


def _agreement_table(anchored: Sequence[AnchorComparison]) -> Table:
    table = Table(title="Agreement on shared anchors", title_justify="left", title_style="bold")
    for name in ("members", "anchors", "space", "self", "cosine", "near"):
        table.add_column(name, justify="left" if name in {"members", "space"} else "right")
    for one in anchored:
        named = one.members if len(one.members) == 2 else (f"all {len(one.members)}", "")
        table.add_row(named[0], str(one.anchors), "paper", *_measures(one.paper))
        table.add_row(named[1], "", "calibrated", *_measures(one.calibrated), end_section=True)
    return table


def _measures(found: Agreement) -> tuple[str, ...]:
    return (
        " ".join(f"{mass:.2f}" for mass in found.self_mass),
        f"{found.cosine_others:.2f} ({found.cosine:.2f})",
        f"{found.neighbours:.0%} ({found.chance:.0%})",
    )


def _consistency_table(anchored: Sequence[AnchorComparison]) -> Table:
    table = Table(title="Consistency of single anchors", title_justify="left", title_style="bold")
    table.add_column("members")
    for name in ("mean", "10 %", "25 %", "50 %", "75 %", "90 %"):
        table.add_column(name, justify="right")
    for one in anchored:
        found = one.consistency
        at = [f"{value:.2f}" for value in found.quantiles((0.1, 0.25, 0.5, 0.75, 0.9))]
        table.add_row(Text(_named(one.members)), f"{found.mean:.2f} ({found.chance:.2f})", *at)
    return table


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
