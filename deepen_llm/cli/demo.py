"""``deepen demo``: the bundled specialists alone, and as one ensemble."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from deepen_llm.cli.terminal import errors, quiet_libraries
from deepen_llm.cli.threads import run_small_on_one_thread

if TYPE_CHECKING:
    from rich.progress import Progress

    from deepen_llm.demo.measure import Result
    from deepen_llm.members.base import Member
    from deepen_llm.specialists import Question


def demo(
    questions: Annotated[
        int | None, typer.Option(min=1, help="Ask this many, spread over the subjects; default: all.")
    ] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Ask about this subject only; repeat.")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose the settings anew on the development questions (minutes).")
    ] = False,
) -> None:
    """Ask three bundled tiny models, alone and as one ensemble. Offline, within a minute.

    Each of the models knows three of nine subjects and has a tokenizer of another kind.
    """
    started = time.perf_counter()
    errors.print("Three tiny models with different tokenizers, alone and as one model: offline, within a minute")
    with errors.status("Starting..."):
        from deepen_llm import specialists
        from deepen_llm.demo.measure import pick
        from deepen_llm.options import suggestion

    if tune and (questions or subject):
        raise typer.BadParameter("--tune takes all development questions: leave --questions and --subject out")
    asked = specialists.questions("dev" if tune else "test")
    known = sorted({question.subject for question in asked})
    if unknown := sorted(set(subject or []) - set(known)):
        meant = suggestion(unknown[0], known)
        raise typer.BadParameter(f"unknown subject {unknown[0]!r}{meant}; there are {', '.join(known)}")
    chosen = pick(asked, subject or [], questions)
    members = _members(started)
    if tune:
        _tune(members, chosen)
    else:
        _run(members, chosen)


def _members(started: float) -> list[Member]:
    """The specialists, loaded; a line tells what they are and how long it took since the start."""
    from deepen_llm import specialists
    from deepen_llm.config import MemberConfig
    from deepen_llm.members.loading import load_member

    quiet_libraries()
    with errors.status("Loading three models..."):
        members: list[Member] = [
            load_member(MemberConfig(path=str(path), device="cpu")) for path in specialists.paths()
        ]
    run_small_on_one_thread(members)
    names, seconds = ", ".join(member.name for member in members), time.perf_counter() - started
    errors.print(f"Loaded three models that come with the package: {names} ({seconds:.1f} s)")
    return members


def _tune(members: list[Member], questions: list[Question]) -> None:
    from deepen_llm.demo.settings import FILE
    from deepen_llm.demo.tuning import rounds, tune

    total = rounds(len(members))
    errors.print(f"Asking the {len(questions)} development questions {total} times, to choose settings:")
    told: list[str] = []
    with _progress() as progress:
        task = progress.add_task("", total=total * len(questions))

        def tell(what: str, count: int) -> None:
            if what not in told:
                told.append(what)
                errors.print(f"  {what}")
            progress.update(task, description=what, advance=count)

        settings = tune(members, questions, tell)
    settings.save()
    errors.print(f"Wrote {FILE}", style="bold")


def _run(members: list[Member], questions: list[Question]) -> None:
    from deepen_llm.cli.report import Report
    from deepen_llm.demo.measure import measure
    from deepen_llm.demo.settings import BATCH, DemoSettings
    from deepen_llm.ensemble import EnsembleLLM

    settings = DemoSettings.load()
    systems = {member.name: EnsembleLLM([member], batch_size=BATCH) for member in members}
    systems |= {one.name: one.ensemble(members) for one in settings.ensembles}
    results = {}
    errors.print(f"Asking {len(questions)} questions: each model alone, then all three as one. Right answers:")
    with _progress() as progress:
        task = progress.add_task("", total=len(systems) * len(questions))
        for name, llm in systems.items():
            progress.update(task, description=name)
            results[name] = measure(llm, questions, lambda n: progress.update(task, advance=n))
            errors.print(_line(name if len(llm.members) > 1 else f"{name} alone", results[name]))
    errors.print()
    Report(settings, systems, results).show()


def _line(name: str, result: Result) -> str:
    return f"  {name:<14} {100 * result.accuracy:5.1f} %  ({result.seconds:.1f} s)"


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=errors if errors.is_terminal else Console(quiet=True), transient=True)
