"""Report of the benchmarks: a table, and a record in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks import plots
from benchmarks.rows import RowResult, shown
from deepen_llm.errors import ConfigError

_STYLES = {"met": "bold green", "missed": "bold red", "info": "", "not measured": "dim"}


def table(results: Sequence[RowResult]) -> Table:
    """Make a table of every row with its target and verdict."""
    out = Table(title="Benchmarks", title_justify="left", title_style="bold")
    for name, justify in (("row", "left"), ("measured", "right"), ("target", "right"), ("verdict", "left")):
        out.add_column(name, justify=justify, no_wrap=name != "verdict")  # type: ignore[arg-type]
    for result in results:
        said = result.verdict if result.ratio else f"{result.verdict}: {result.note}"
        out.add_row(result.name, value(result), result.row.bound, Text(said, _STYLES[result.verdict]))
    return out


def line(result: RowResult) -> Text:
    """Format a row when it is measured."""
    said = ((f"{value(result)}  ", "bold"), (result.verdict, _STYLES[result.verdict]), (f"  {result.note}", "dim"))
    return Text.assemble(f"{result.name}: ", *said)


def save(results: Sequence[RowResult], about: Mapping[str, Any], folder: Path) -> list[str]:
    """Write ``table.md``, ``results.json`` and ``performance.png``; return remarks on files that failed."""
    (folder / "table.md").write_text(markdown(results, about), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(record(results, about), indent=1), encoding="utf-8")
    curves = plots.curves(results)
    if not curves:
        return ["no plot: none of its rows was measured"]
    try:
        plots.draw(curves, folder / "performance.png")
    except ConfigError as error:
        return [f"no plot: {error.message} ({error.hint}); table and record are written"]
    return []


def value(result: RowResult) -> str:
    """Format the median, with the spread in brackets."""
    if result.ratio is None:
        return ""
    median, low, high = (shown(one, "").strip() for one in _scaled(result))
    spread = f" [{low}, {high}]" if low != high else ""
    return f"{median}{spread} {result.row.unit}"


def markdown(results: Sequence[RowResult], about: Mapping[str, Any]) -> str:
    """Format the table in Markdown, with the meaning and the note of each row."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    models = "".join(f"- {line}\n" for line in about.get("members", ()))
    lines = ["| row | what | measured | target | verdict | how |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.row.what} | {value(one)} | {one.row.bound} | {_loud(one.verdict)} | {one.note} |"
        for one in results
    ]
    head = (
        f"{about['date']}, {about['machine']}; {versions}. Medians, in brackets the smallest and the largest value.\n"
    )
    return f"{head}\n{models}\n" + "\n".join(lines) + "\n"


def record(results: Sequence[RowResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert all results to plain values for JSON."""
    return {**about, "rows": {one.name: _row(one) for one in results}}


def _row(result: RowResult) -> dict[str, Any]:
    row, ratio = result.row, result.ratio
    return {
        "what": row.what,
        "value": ratio and ratio.value,
        "low": ratio and ratio.low,
        "high": ratio and ratio.high,
        "unit": row.unit,
        "target": row.target,
        "bound": row.bound,
        "verdict": result.verdict,
        "note": result.note,
        "failed": result.failed,
        "raw": dict(result.raw),
    }


def _scaled(result: RowResult) -> tuple[float, float, float]:
    scale = 100 if result.row.unit == "%" else 1
    ratio = result.ratio
    assert ratio is not None  # noqa: S101
    return scale * ratio.value, scale * ratio.low, scale * ratio.high


def _loud(verdict: str) -> str:
    return f"**{verdict}**" if verdict in {"met", "missed"} else verdict
