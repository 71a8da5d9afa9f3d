"""What ``deepen demo`` shows."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepen_llm.cli.tracing import trace_view
from deepen_llm.demo.measure import MAX_NEW_TOKENS, Result, conversation
from deepen_llm.demo.settings import Choice, DemoSettings
from deepen_llm.demo.verdict import TARGET, judge
from deepen_llm.ensemble import EnsembleLLM


class Report:
    """Results, a verdict, and one answer with its trace.

    Args:
        settings: Where the ensembles come from.
        systems: Every specialist alone, then every ensemble, by name.
        results: How each of them did, on the same questions.
    """

    def __init__(
        self, settings: DemoSettings, systems: Mapping[str, EnsembleLLM], results: Mapping[str, Result]
    ) -> None:
        self._settings, self._systems, self._results = settings, systems, results
        self._names = [name for name in results if name in settings.members]
        self._console = Console(highlight=False)

    def show(self) -> None:
        """Print all of it on the standard output stream."""
        self._console.print(self._table())
        self._sources()
        self._verdicts()
        self._trace()

    def _table(self) -> Table:
        asked = next(iter(self._results.values())).questions
        table = Table(
            title=f"Right answers to {len(asked)} test questions, in %", title_justify="left", title_style="bold"
        )
        table.add_column("")
        for name in self._results:
            table.add_column(name.replace(" ", "\n"), justify="right")
        subjects = list(dict.fromkeys(question.subject for question in asked))
        for subject in subjects:
            table.add_row(subject, *_cells([result.accuracy_in(subject) for result in self._results.values()]))
        table.add_section()
        table.add_row("overall", *_cells([result.accuracy for result in self._results.values()], ".1f"), style="bold")
        table.add_row("tokens/s", *(f"{result.tokens_per_second:.0f}" for result in self._results.values()))
        return table

    def _sources(self) -> None:
        self._console.print(
            f"Settings come from {self._settings.questions} other questions, the development set "
            "(deepen_llm/demo/settings.yaml, written by deepen demo --tune):"
        )
        for choice in self._settings.ensembles:
            self._console.print(f"  {self._described(choice)}", style="dim")
        self._console.print()

    def _described(self, choice: Choice) -> str:
        options = ", ".join(f"{name} {value}" for name, value in choice.fusion.items() if name != "method")
        weights = " ".join(f"{weight:.2f}" for weight in choice.weights or ()) or "equal"
        parts = [f"main model {list(self._settings.members)[choice.main_model]}", f"weights {weights}", options]
        return f"{_label(choice):<12} {', '.join(part for part in parts if part)}; {choice.accuracy:.1%} there"

    def _verdicts(self) -> None:
        best = max(self._names, key=lambda name: self._results[name].accuracy)
        alone = self._results[best]
        self._console.print(
            f"Above the best member alone ({best}, {alone.accuracy:.1%}), with the paired bootstrap's 95 % interval:",
            style="bold",
        )
        for name in [name for name in self._results if name not in self._names]:
            verdict = judge(self._results[name].right, alone.right)
            word = "reaches" if verdict.reached else "does not reach"
            self._console.print(
                Text.assemble(
                    f"  {name:<12} ",
                    (f"{verdict.points:+.1f} points", "bold green" if verdict.reached else "bold red"),
                    f" [{verdict.low:+.1f}, {verdict.high:+.1f}]: {word} the target of {TARGET:.0f} points",
                )
            )
        self._console.print()

    def _trace(self) -> None:
        """One answer that the best ensemble gives rightly and its main model alone does not."""
        best = max(self._settings.ensembles, key=lambda choice: self._results[_label(choice)].accuracy)
        ours = self._results[_label(best)]
        main = self._results[list(self._settings.members)[best.main_model]]
        places = [i for i, (we, it) in enumerate(zip(ours.right, main.right, strict=True)) if we and not it]
        if not places:
            self._console.print("No question here that an ensemble answers rightly and its main model does not.")
            return
        question = ours.questions[places[0]]
        llm = self._systems[_label(best)]
        output = llm.chat(conversation(question), max_new_tokens=MAX_NEW_TOKENS, trace=True)
        self._console.print("One answer, token by token", style="bold")
        self._console.print(Text(f"{question.question}"))
        self._console.print(
            Text.assemble(
                (f"{_label(best)}: {output.text.strip()}", "green"),
                "   ",
                (f"{list(self._settings.members)[best.main_model]} alone: {main.answers[places[0]].strip()}", "red"),
            )
        )
        for token in output.trace or ():
            self._console.print(trace_view(token))


def _label(choice: Choice) -> str:
    return f"{choice.method} {choice.weighting}"


def _cells(shares: list[float], form: str = ".0f") -> list[Text]:
    """Percentages, the best of them bold."""
    best = max(shares)
    return [Text(format(100 * share, form), "bold green" if share == best else _shade(share)) for share in shares]


def _shade(share: float) -> str:
    return "dim" if share < 0.25 else ""
