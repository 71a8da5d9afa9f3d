"""The tables of the document, written from the results between markers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from deepen_llm.demo.long_answers.checker import DERAILMENTS
from research.study.tables import Row, Table

_BLOCK = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, tables: Mapping[str, Table]) -> str:
    """Replace every marked table of a document by that of the results.

    Args:
        text: The document; tables are between ``<!-- table: NAME -->`` and ``<!-- end -->``.
        tables: The results; a table without results is not changed.
    """

    def shown(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- table: {name} -->\n{markdown(tables[name])}\n<!-- end -->" if name in tables else found[0]

    return _BLOCK.sub(shown, text)


def named(text: str) -> list[str]:
    """List the tables of a document."""
    return [found["name"] for found in _BLOCK.finditer(text)]


def markdown(table: Table) -> str:
    """Format a table in Markdown; differences whose interval excludes zero are bold.

    A table with ``columns`` (heads, and the keys of signed numbers with two digits) has these and no others.
    """
    rows, own = table["rows"], table.get("columns", {})
    noted, gained, lost, freely = (
        any(one.get(key) for one in rows) for key in ("note", "right_gain", "loss", "derailed")
    )
    columns: list[tuple[str, Callable[[Row], str], bool]] = [
        ("", lambda one: str(one["label"]), True),
        ("chosen", lambda one: str(one["note"]), noted),
        (table.get("measure", "right, %"), lambda one: _shown(one["right"], 1), not own),
        ("gain, points", lambda one: _shown(one.get("right_gain"), 1, signed=True), gained),
        ("loss, nats", lambda one: _shown(one.get("loss"), 2), lost),
        ("change, nats", lambda one: _shown(one.get("loss_gain"), 2, signed=True), gained and lost),
        ("with / without a step of one member, %", lambda one: _pair(one["lone"]), freely),
        ("derailed, %", lambda one: _shown(one["derailed"], 0), freely),
        *((kind, lambda one, kind=kind: f"{one['derailments'][kind]:.0f}", freely) for kind in DERAILMENTS),
        ("tokens", lambda one: f"{one['tokens']:.0f}", freely),
        ("fused, %", lambda one: f"{one['fused']:.0f}", freely),
        ("tokens a second", lambda one: f"{one['speed']:.0f}", freely),
        *((head, lambda one, key=key: _shown(one[key], 2, signed=True), True) for head, key in own.items()),
    ]
    kept = [(head, cell) for head, cell, wanted in columns if wanted]
    lines = [[head for head, _ in kept], ["---"] * len(kept), *([cell(one) for _, cell in kept] for one in rows)]
    return f"**{table['title']}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _pair(given: Any) -> str:
    return " / ".join("" if one is None else f"{one:.0f}" for one in given)


def _shown(given: Any, digits: int, *, signed: bool = False) -> str:
    if given is None:
        return ""
    mean, low, high = (f"{one:{'+' if signed else ''}.{digits}f}" for one in given)
    sure = signed and (given[1] > 0 or given[2] < 0)
    return f"{f'**{mean}**' if sure else mean} ({low} to {high})"
