"""Report of ``deepen demo`` on short questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepen_llm.cli.tracing import trace_view
from deepen_llm.demo.measure import MAX_NEW_TOKENS, QuestionResult, conversation
from deepen_llm.demo.settings import DemoSettings
from deepen_llm.demo.verdict import TARGET, judge, reached
from deepen_llm.llm import EnsembleLLM
from deepen_llm.tuning.intervals import Interval

BRACKETS = "In brackets: 95 % intervals, by a paired bootstrap over the questions."
"""The meaning of the brackets of `gain_line`."""


class Report:
    """Prints results, a verdict, and one answer with its trace.

    Args:
        settings: The settings of the ensembles.
        systems: Every specialist alone, then every ensemble, by name.
        results: Their results on the same questions.
    """

    def __init__(
        self, settings: DemoSettings, systems: Mapping[str, EnsembleLLM], results: Mapping[str, QuestionResult]
    ) -> None:
        self._settings = settings
        self._systems = systems
        self._results = results
        self._console = Console(highlight=False)

    def show(self) -> None:
        """Print all of it on the standard output stream."""
        self._console.print(self._table())
        self._console.print(self._sources(), "")
        self._verdicts()
        self._trace()

    def _table(self) -> Table:
        questions = next(iter(self._results.values())).questions
        table = Table(
            box=SIMPLE_HEAD,
            padding=0,
            title=f"Right answers to {len(questions)} test questions, in %",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("")
        for name in self._results:
            table.add_column(name.replace(" ", "\n"), justify="right")
        subjects = list(dict.fromkeys(question.subject for question in questions))
        for subject in subjects:
            table.add_row(subject, *share_cells([result.accuracy_in(subject) for result in self._results.values()]))
        table.add_section()
        table.add_row(
            "overall", *share_cells([result.accuracy for result in self._results.values()], ".1f"), style="bold"
        )
        table.add_row("tokens/s", *(f"{result.tokens_per_second:.0f}" for result in self._results.values()))
        return table

    def _sources(self) -> Table:
        members = list(self._settings.members)
        table = Table(
            "",
            "main model",
            "weights",
            "options",
            "accuracy",
            box=None,
            padding=(0, 1),
            title=f"\nSettings, all chosen on the {self._settings.questions} questions of the development set",
            caption=" Kept in deepen_llm/demo/settings.yaml, written by: deepen demo --tune",
            title_justify="left",
            title_style="bold",
            caption_justify="left",
        )
        for choice in self._settings.ensembles:
            weights = " ".join(f"{weight:.2f}" for weight in choice.weights or ()) or "equal"
            options = ", ".join(f"{name} {value}" for name, value in choice.fusion.items() if name != "method")
            table.add_row(choice.name, members[choice.main_model], weights, options, f"{choice.accuracy:.1%}")
        return table

    def _verdicts(self) -> None:
        best = max(self._settings.members, key=lambda name: self._results[name].accuracy)
        alone = self._results[best]
        self._console.print(f"Against the best member alone ({best}, {alone.accuracy:.1%})", style="bold")
        names = [choice.name for choice in self._settings.ensembles]
        for choice in self._settings.ensembles:
            gain = judge(self._results[choice.name].right, alone.right)
            word = "reaches" if reached(gain) else "does NOT reach"
            goal = f"{word} the goal of {TARGET:.0f}" if alone.accuracy < 1 - TARGET / 100 else "no room for more"
            self._console.print(gain_line(choice.name, gain, names), goal, sep="  ")
        self._console.print(BRACKETS, style="dim")
        self._console.print("Avg: equal weights; Adapt: weights by development accuracy.\n", style="dim")

    def _trace(self) -> None:
        """Print one question that the best ensemble answers right and its main model alone does not."""
        best = max(self._settings.ensembles, key=lambda choice: self._results[choice.name].accuracy)
        main = list(self._settings.members)[best.main_model]
        ours, theirs = self._results[best.name], self._results[main]
        indices = [i for i, (we, they) in enumerate(zip(ours.right, theirs.right, strict=True)) if we and not they]
        if not indices:
            self._console.print("No question here that an ensemble answers rightly and its main model does not.")
            return
        question, wrong = ours.questions[indices[0]], theirs.answers[indices[0]].strip()
        output = self._systems[best.name].chat(conversation(question), max_new_tokens=MAX_NEW_TOKENS, trace=True)
        self._console.print("One answer, token by token: weights, likeliest tokens, probabilities", style="bold")
        self._console.print(Text(question.question))
        answers = (f"{best.name}: {output.text.strip()}", "green"), "   ", (f"{main} alone: {wrong}", "red")
        self._console.print(Text.assemble(*answers, "\n"))
        for token in output.trace or ():
            self._console.print(trace_view(token))


def gain_line(name: str, gain: Interval, names: Iterable[str]) -> Text:
    """Format a gain in points with its interval.

    Args:
        name: The ensemble's name.
        gain: Its gain.
        names: The names on all lines, whose numbers stand in one column.
    """
    width = max(map(len, names))
    value = f"{gain.value:+.1f} points", "bold green" if reached(gain) else "bold"
    return Text.assemble(f" {name:<{width}} ", value, f" [{gain.low:+.1f}, {gain.high:+.1f}]")


def share_cells(shares: list[float], form: str = ".0f") -> list[Text]:
    """Format percentages, the best in bold."""
    best = max(shares)
    return [Text(format(100 * share, form), "bold green" if share == best else _shade(share)) for share in shares]


def _shade(share: float) -> str:
    return "dim" if share < 0.25 else ""
