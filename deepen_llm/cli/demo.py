"""``deepen demo``: bundled models alone and as an ensemble, on short questions and on long answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from deepen_llm.cli.terminal import errors, quiet_libraries
from deepen_llm.cli.threads import run_small_on_one_thread

if TYPE_CHECKING:
    from rich.progress import Progress

    from deepen_llm.demo.long_answers.measure import ChainResult
    from deepen_llm.demo.measure import QuestionResult
    from deepen_llm.llm import EnsembleLLM
    from deepen_llm.members.base import Member
    from deepen_llm.specialists import Question

R = TypeVar("R", "QuestionResult", "ChainResult")

CHAINS = "chains"
"""The name of the long answers in ``--subject``."""


def demo(
    questions: Annotated[
        int | None,
        typer.Option(min=1, help="Ask at most this many for each table, spread over the subjects; default: all."),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help=f"Ask about this subject only; repeat. Long answers are '{CHAINS}'.")
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Choose the settings for short questions anew on the development questions (minutes). Long answers "
            "have none: their methods are as they come.",
        ),
    ] = False,
) -> None:
    """Ask bundled tiny models, alone and as one ensemble: short questions, then long answers. Offline, in a minute.

    Three models know three of nine subjects each; three others are each sure of errors in some steps of an answer.
    """
    started = time.perf_counter()
    errors.print("Tiny models with different tokenizers, alone and as one model: offline, in about a minute")
    with errors.status("Starting..."):
        from deepen_llm import specialists
        from deepen_llm.demo.measure import pick
        from deepen_llm.errors import suggestion

    if tune and (questions or subject):
        raise typer.BadParameter("--tune takes all development questions: leave --questions and --subject out")
    available = specialists.questions("dev" if tune else "test")
    known = [*sorted({question.subject for question in available}), CHAINS]
    if unknown := sorted(set(subject or []) - set(known)):
        hint = suggestion(unknown[0], known)
        raise typer.BadParameter(f"unknown subject {unknown[0]!r}{hint}; there are {', '.join(known)}")
    subjects = subject or known
    selected = pick(available, subjects, questions)
    if tune:
        _tune(_members(specialists.paths(), started), selected)
        return
    if selected:
        _ask_short(_members(specialists.paths(), started), selected)
    if CHAINS in subjects:
        _ask_long(questions, time.perf_counter() if selected else started)


def _members(paths: list[Path], started: float) -> list[Member]:
    """Load bundled models; print their names and the time since ``started``."""
    from deepen_llm.members.config import MemberConfig
    from deepen_llm.members.local.loading import load_member

    quiet_libraries()
    with errors.status("Loading three models..."):
        members: list[Member] = [load_member(MemberConfig(path=str(path), device="cpu")) for path in paths]
    run_small_on_one_thread(members)
    names, seconds = ", ".join(member.name for member in members), time.perf_counter() - started
    errors.print(f"Loaded three models that come with the package: {names} ({seconds:.1f} s)")
    return members


def _tune(members: list[Member], questions: list[Question]) -> None:
    from deepen_llm.demo.settings import FILE
    from deepen_llm.demo.tuning import rounds, tune

    total = rounds(len(members))
    errors.print(f"Asking the {len(questions)} development questions {total} times, to choose settings:")
    printed: list[str] = []
    with _progress() as progress:
        task = progress.add_task("", total=total * len(questions))

        def on_progress(name: str, count: int) -> None:
            if name not in printed:
                printed.append(name)
                errors.print(f"  {name}")
            progress.update(task, description=name, advance=count)

        settings = tune(members, questions, on_progress)
    settings.save()
    errors.print(f"Wrote {FILE}", style="bold")


def _ask_short(members: list[Member], questions: list[Question]) -> None:
    from deepen_llm.cli.report import Report
    from deepen_llm.demo.measure import measure
    from deepen_llm.demo.settings import BATCH, DemoSettings
    from deepen_llm.llm import EnsembleLLM

    settings = DemoSettings.load()
    systems = {member.name: EnsembleLLM([member], batch_size=BATCH) for member in members}
    systems |= {choice.name: choice.ensemble(members) for choice in settings.ensembles}
    errors.print(f"Asking {len(questions)} questions: each model alone, then all three as one. Right answers:")
    results = _each(systems, len(questions), lambda llm, advance: measure(llm, questions, advance))
    Report(settings, systems, results).show()


def _ask_long(count: int | None, started: float) -> None:
    from deepen_llm.cli.long_report import LongReport
    from deepen_llm.demo.long_answers import paths
    from deepen_llm.demo.long_answers.measure import QUESTIONS, measure, systems
    from deepen_llm.demo.long_answers.questions import questions

    members = _members(paths(), started)
    chains = questions("test")[: min(count or QUESTIONS, QUESTIONS)]
    ensembles = systems(members)
    errors.print(f"Asking for {len(chains)} long answers: each model alone, then all three as one. Right answers:")
    results = _each(ensembles, len(chains), lambda llm, advance: measure(llm, chains, advance))
    LongReport(ensembles, results).show()


def _each(
    systems: Mapping[str, EnsembleLLM], count: int, ask: Callable[[EnsembleLLM, Callable[[int], None]], R]
) -> dict[str, R]:
    """Run every model and ensemble, with a progress bar and a line per result."""
    results = dict[str, R]()
    with _progress() as progress:
        task = progress.add_task("", total=len(systems) * count)
        for name, llm in systems.items():
            progress.update(task, description=name)
            results[name] = result = ask(llm, lambda n: progress.update(task, advance=n))
            label = name if len(llm.members) > 1 else f"{name} alone"
            errors.print(f"  {label:<14} {100 * result.accuracy:5.1f} %  ({result.seconds:.1f} s)")
    errors.print()
    return results


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=errors if errors.is_terminal else Console(quiet=True), transient=True)
