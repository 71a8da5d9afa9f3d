"""``deepen demo``: the bundled specialists alone, and as one ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deepen_llm.cli.terminal import errors, quiet_libraries

if TYPE_CHECKING:
    from rich.progress import Progress

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
    members = _members()
    if tune:
        _tune(members, chosen)
    else:
        _run(members, chosen)


def _members() -> list[Member]:
    import torch

    from deepen_llm import specialists
    from deepen_llm.config import MemberConfig
    from deepen_llm.members.loading import load_member

    torch.set_num_threads(1)  # models this small lose more by waiting for a second thread than they gain
    quiet_libraries()
    return [load_member(MemberConfig(path=str(path), device="cpu")) for path in specialists.paths()]


def _tune(members: list[Member], questions: list[Question]) -> None:
    from deepen_llm.demo.settings import FILE
    from deepen_llm.demo.tuning import rounds, tune

    with _progress() as progress:
        task = progress.add_task("", total=rounds(len(members)) * len(questions))
        settings = tune(members, questions, lambda what, n: progress.update(task, description=what, advance=n))
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
    with _progress() as progress:
        task = progress.add_task("", total=len(systems) * len(questions))
        for name, llm in systems.items():
            progress.update(task, description=name)
            results[name] = measure(llm, questions, lambda n: progress.update(task, advance=n))
    Report(settings, systems, results).show()


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=errors if errors.is_terminal else Console(quiet=True), transient=True)
