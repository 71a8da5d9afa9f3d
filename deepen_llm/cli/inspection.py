"""``deepen inspect``: what the members are, and how far they speak of the same things."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepen_llm.cli.options import Members, takes
from deepen_llm.cli.terminal import errors, quiet_libraries, write
from deepen_llm.errors import VocabularyError

if TYPE_CHECKING:
    from rich.table import Table

    from deepen_llm.fusion.agreement import Agreement
    from deepen_llm.members.local import LocalMember


@takes(Members)
def inspect(
    given: Members,
    sample: Annotated[int, typer.Option(min=2, help="The most anchors to compare.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Show members, the anchors they share, and how alike they see these anchors.

    Without --member and --config, the bundled specialists.
    """
    with errors.status("Starting..."):
        from deepen_llm import specialists
        from deepen_llm.members.loading import load_members

    if not given.member and given.config is None:
        given = replace(given, member=[str(path) for path in specialists.paths()])
    configuration = given.configuration()
    quiet_libraries()
    with errors.status(f"Loading {len(configuration.members)} members..."):
        members = load_members(configuration.members)
    with errors.status("Comparing anchors..."):
        comparisons = list(compare(members, sample))
    if as_json:
        from deepen_llm.cli.records import finite

        record = {"members": [describe(one) for one in members], "anchors": [asdict(one) for one in comparisons]}
        write(json.dumps(finite(record), allow_nan=False) + "\n")
    else:
        _show([describe(one) for one in members], comparisons)


@dataclass(frozen=True)
class Comparison:
    """Some members on the anchors that they share.

    Attributes:
        members: Their names.
        anchors: Number of shared anchors.
        paper: How far they agree in the paper's space; None without anchors.
        calibrated: The same in the calibrated space.
    """

    members: tuple[str, ...]
    anchors: int
    paper: Agreement | None
    calibrated: Agreement | None


def compare(members: Sequence[LocalMember], sample: int) -> list[Comparison]:
    """Compare each pair of members over its own anchors, then all of them over the joint ones."""
    groups = list(combinations(members, 2))
    return [_compared(group, sample) for group in [*groups, *([tuple(members)] if len(groups) > 1 else [])]]


def _compared(group: Sequence[LocalMember], sample: int) -> Comparison:
    from deepen_llm.fusion.agreement import CALIBRATED, PAPER, agreement

    names = tuple(member.name for member in group)
    try:
        paper, calibrated = (agreement(group, space, sample=sample) for space in (PAPER, CALIBRATED))
    except VocabularyError:
        return Comparison(names, 0, None, None)
    return Comparison(names, paper.anchors, paper, calibrated)


def describe(member: LocalMember) -> dict[str, Any]:
    """A member's plain facts."""
    from deepen_llm.vocabulary.kinds import find_kind

    vocabulary = member.vocabulary
    return {
        "name": member.name,
        "architecture": type(member.model).__name__,
        "parameters": sum(parameter.numel() for parameter in member.model.parameters()),
        "dtype": str(member.model.dtype).removeprefix("torch."),
        "vocabulary": vocabulary.tokenizer_size,
        "logits": vocabulary.size,
        "tokenizer": find_kind(member.tokenizer).name,
        "end_of_text": [
            {"id": id_, "token": member.tokenizer.convert_ids_to_tokens(id_)} for id_ in vocabulary.end_of_text
        ],
        "context_length": member.context_length,
        "chat_template": bool(member.tokenizer.chat_template),
    }


def _show(members: Sequence[dict[str, Any]], comparisons: Sequence[Comparison]) -> None:
    from rich.console import Console

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


def _member_table(members: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

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
    from rich.table import Table

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
