"""Command line of the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepen_llm.cli.terminal import errors, note, quiet_libraries, write
from deepen_llm.cli.threads import run_on_one_thread

if TYPE_CHECKING:
    from rich.progress import Progress

    from benchmarks.suite import Part, Suite

ShapeName = Literal["tiny", "100m", "1b", "7b"]
"""The sizes of members, repeated here so that ``--help`` does not import torch."""


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Tiny members, few tokens: does it run at all.")] = False,
    cpu: Annotated[bool | None, typer.Option("--cpu/--gpu", help="Only rows for any machine, or for a GPU.")] = None,
    rows: Annotated[list[str] | None, typer.Option(help="Measure this row only; repeat.")] = None,
    shape: Annotated[ShapeName | None, typer.Option(help="The members' size. Default: 100m, on a GPU 7b.")] = None,
    tokens: Annotated[int | None, typer.Option(min=16, help="Tokens decoded at batch 1. Default: 256.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="How often each is measured. Default: 2.")] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Write table, record and plot here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Measure decoding against its floor: the members' own generation, one after the other. Offline, minutes.

    Members have random weights and the shapes of real ones; the first run also trains their tokenizers.
    """
    with errors.status("Starting..."):
        from benchmarks.rows import ROWS
        from deepen_llm.errors import suggestion

    if unknown := sorted(set(rows or []) - set(ROWS)):
        meant = suggestion(unknown[0], ROWS)
        raise typer.BadParameter(f"unknown row {unknown[0]!r}{meant}; there are {', '.join(ROWS)}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    sizes = {name: value for name, value in (("tokens", tokens), ("repeats", repeats)) if value is not None}
    suite = _suite(rows or [], cpu, quick, shape, sizes)
    started, whole = time.perf_counter(), _measure(suite)
    about = {**suite.describe(), "seconds": round(time.perf_counter() - started, 1)}
    _show(suite, about, out, as_json)
    if not whole:
        raise typer.Exit(130)
    if any(result.failed for result in suite.results):
        raise typer.Exit(1)


def _suite(rows: Collection[str], cpu: bool | None, quick: bool, shape: str | None, sizes: dict[str, Any]) -> Suite:
    import dataclasses

    import torch

    from benchmarks.setting import QUICK, BenchmarkSetting, Sizes
    from benchmarks.suite import Suite

    measured = dataclasses.replace(QUICK if quick else Sizes(), **sizes)
    small, large = ("tiny", "tiny") if quick else ("100m", "7b")
    if (shape or small) == "tiny":
        run_on_one_thread()
    on_cpu = BenchmarkSetting(shape or small, measured, torch.device("cpu")) if cpu is not False else None
    has_gpu = torch.cuda.is_available() and cpu is not True
    on_gpu = BenchmarkSetting(shape or large, measured, torch.device("cuda")) if has_gpu else None
    return Suite(rows, on_cpu, on_gpu)


def _measure(suite: Suite) -> bool:
    """Measure with a progress bar; return whether it was not interrupted."""
    from benchmarks.report import line

    with suppress(KeyboardInterrupt), _progress() as progress:
        task = progress.add_task("", total=len(suite.names))

        def on_progress(part: Part, text: str) -> None:
            progress.update(task, description=f"{part.names[0]}: {text}")

        for result in suite.run(on_progress):
            progress.advance(task)
            errors.print(line(result))
        return True
    return False


def _show(suite: Suite, about: dict[str, Any], out: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from benchmarks.report import record, save, table

    if out:
        for remark in save(suite.results, about, out):
            note(remark)
    if as_json:
        write(json.dumps(record(suite.results, about), allow_nan=False) + "\n")
    else:
        Console(highlight=False).print(table(suite.results))


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    return Progress(*columns, console=errors if errors.is_terminal else Console(quiet=True), transient=True)


app = typer.Typer(add_completion=False)
app.command()(bench)

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
