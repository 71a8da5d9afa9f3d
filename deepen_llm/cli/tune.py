"""``deepen tune``: choose an ensemble on a development set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deepen_llm.cli.options import FUSION_NAMES, DecodingOptions, TokenHealing
from deepen_llm.cli.signatures import with_options
from deepen_llm.cli.terminal import errors, note, write
from deepen_llm.cli.values import settings
from deepen_llm.errors import ConfigError
from deepen_llm.extras import require

if TYPE_CHECKING:
    from deepen_llm.llm import EnsembleLLM
    from deepen_llm.tuning.dataset import Examples
    from deepen_llm.tuning.intervals import Interval
    from deepen_llm.tuning.result import Tuning
    from deepen_llm.tuning.space import SearchSpace
    from deepen_llm.tuning.tuner import Progress


@with_options(DecodingOptions)
def tune(
    options: DecodingOptions,
    dataset: Annotated[
        Path | None, typer.Argument(help="JSON lines: prompt or messages, with references, or choices and answer.")
    ] = None,
    token_healing: TokenHealing = None,
    metric: Annotated[
        str | None,
        typer.Option(help="exact_match, contains, f1; for choices accuracy, accuracy_per_byte. Default: the first."),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Read each prompt as a user's message.")] = False,
    skip_too_long: Annotated[
        bool, typer.Option("--skip-too-long", help="Leave out examples that are too long for a member.")
    ] = False,
    trials: Annotated[int, typer.Option(min=1, help="Settings that the search tries.")] = 60,
    search_space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help=escape(f"What to choose from: methods=[{FUSION_NAMES[0]}], gates=[always], rounds=[1, 3]; repeat."),
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(show_default="a third", help="Share of examples that judge what the others chose.")
    ] = 1 / 3,
    test: Annotated[Path | None, typer.Option(help="A test set, of the same form, to score the result on.")] = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="Where to write the ensemble.")] = Path("ensemble.yaml"),
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where to keep what was computed. Default: beside --out.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(file_okay=False, help="Draw pictures into this folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an ensemble's file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Choose members, main model, fusion, weights and gate, and measure whether fusing helps at all.

    Without members and dataset: the bundled specialists and their questions. Run again to resume after an interruption.
    """
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already", hint="give another --out, or --force to write over it")
    _writable(out)
    space = _space(search_space)
    options, data, chat = _with_defaults(options, dataset, chat)
    examples = _examples(data, test, chat, metric)
    if plot:
        require("matplotlib", "plot")
    llm = options.load(token_healing=token_healing)
    from deepen_llm.tuning.tune import tune as choose_ensemble

    examples = _fitting(llm, examples, skip_too_long)
    storage = folder or out.with_suffix(".tune")
    with _resumable(storage), _progress() as on_progress:
        tuning = choose_ensemble(
            llm,
            examples[0],
            metric=metric,
            search_space=space,
            trials=trials,
            held_out=held_out,
            sweeps=plot is not None,
            folder=storage,
            progress=on_progress,
        )
    tuning.save_config(out)
    tested = _tested(tuning, examples[1], metric)
    if as_json:
        from deepen_llm.cli.records import finite

        record = finite({**tuning.record(), "test": vars(tested) if tested else None})
        write(json.dumps(record, allow_nan=False) + "\n")
    else:
        _show(tuning, tested)
    note(f"Wrote {out}")
    if plot:
        _draw(tuning, plot)


def _writable(file: Path) -> None:
    """Make the folder of a file now: after a long run it would be too late to tell that it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error}", hint="give another --out") from error


def _space(pairs: Sequence[str] | None) -> SearchSpace:
    """Parse the search space, before models are loaded."""
    from deepen_llm.tuning.space import SearchSpace

    return SearchSpace(**settings(pairs, "--search-space"))


def _with_defaults(options: DecodingOptions, dataset: Path | None, chat: bool) -> tuple[DecodingOptions, Path, bool]:
    """The options, the dataset and ``chat``; without members and dataset, those of the bundled specialists."""
    if dataset is not None:
        return options, dataset, chat
    if options.member or options.config:
        raise typer.BadParameter("name a file of JSON lines after 'deepen tune'", param_hint="DATASET")
    from deepen_llm import specialists

    short = options.max_new_tokens or 12
    bundled = replace(options, member=[str(path) for path in specialists.paths()], max_new_tokens=short)
    return bundled, specialists.file("dev"), True


def _examples(dataset: Path, test: Path | None, chat: bool, metric: str | None) -> tuple[Examples, Examples | None]:
    """Read and check examples before models are loaded."""
    from deepen_llm.tuning.dataset import check_disjoint, check_set, read_examples
    from deepen_llm.tuning.metrics import Measure

    examples = read_examples(dataset, chat=chat)
    check_set(examples)
    Measure.of(metric, examples)
    if test is None:
        return examples, None
    tested = read_examples(test, chat=chat)
    check_disjoint(examples, tested)
    Measure.of(metric, tested)
    return examples, tested


def _fitting(
    llm: EnsembleLLM, examples: tuple[Examples, Examples | None], skip_too_long: bool
) -> tuple[Examples, Examples | None]:
    """Check the lengths of examples before anything is decoded; print which were left out."""
    from deepen_llm.tuning.lengths import check_lengths

    variables = llm.settings.generation.chat_template_kwargs
    check = partial(check_lengths, variables=variables, skip_too_long=skip_too_long)
    with errors.status("Measuring the examples..."):
        fitting = [part and check(llm.members, part) for part in examples]
    for part in fitting:
        if part and part.left_out:
            count = len(part) + len(part.left_out)
            positions = ", ".join(part.left_out)
            note(f"{part.name}: left out {len(part.left_out)} of {count} examples, too long: {positions}")
    return fitting[0] or examples[0], fitting[1]


def _tested(tuning: Tuning, test: Examples | None, metric: str | None) -> Interval | None:
    if not test:
        return None
    from deepen_llm.tuning.intervals import score_interval
    from deepen_llm.tuning.metrics import Measure
    from deepen_llm.tuning.scoring import scores

    with errors.status(f"Scoring on {len(test)} test examples..."):
        return score_interval(scores(tuning.llm, test, Measure.of(metric, test)))


def _show(tuning: Tuning, tested: Interval | None) -> None:
    from rich.console import Console

    from deepen_llm.cli.tuning_report import report

    Console(highlight=False).print(*report(tuning, tested), sep="\n")


def _draw(tuning: Tuning, folder: Path) -> None:
    from deepen_llm.diagnostics.pictures.tuning import draw

    for file in draw(tuning, folder):
        note(f"Drew {file}")


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Print on Ctrl-C how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"Interrupted. Results so far are in {folder}: the same command continues from there")
        raise


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = errors if errors.is_terminal else Console(quiet=True)
    with Bar(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Starting", total=None)

        def on_progress(progress: Progress) -> None:
            bar.update(task, description=progress.stage, completed=progress.done, total=progress.total)

        yield on_progress
