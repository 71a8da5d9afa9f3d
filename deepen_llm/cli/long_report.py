"""Report of ``deepen demo`` on long answers."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepen_llm.cli.report import BRACKETS, gain_line, share_cells
from deepen_llm.demo.long_answers import NAMES
from deepen_llm.demo.long_answers.checker import Verdict
from deepen_llm.demo.long_answers.measure import MAIN, METHODS, ChainResult
from deepen_llm.demo.verdict import judge
from deepen_llm.llm import EnsembleLLM

_EXPLANATION = f"""\
A question asks for five to eight look-ups in a made-up world, each from the place that the one before led to. Every \
model was taught errors about two of thirteen kinds of look-up, and is as sure of them as of what is true. Right: \
every look-up is true. Derailed: no answer to what was asked, with a broken sentence, a name that nothing has, other \
look-ups than asked for, or one from another place than was reached. Tokens: of an answer, on average. The ensembles' \
main model is {MAIN}, and each method has the options that it comes with (bayes: three rounds); nothing was chosen on \
these questions.
"""


class LongReport:
    """Prints results with an explanation, a comparison with the best member, and one answer.

    Args:
        systems: Every member alone, then every ensemble, by name.
        results: Their results on the same questions.
    """

    def __init__(self, systems: Mapping[str, EnsembleLLM], results: Mapping[str, ChainResult]) -> None:
        self._systems = systems
        self._results = results
        self._console = Console(highlight=False)

    def show(self) -> None:
        """Print all of it on the standard output stream."""
        self._console.print(self._table())
        self._console.print(_EXPLANATION, style="dim")
        self._verdicts()
        self._answer()

    def _table(self) -> Table:
        results = list(self._results.values())
        table = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1),
            title=f"Long answers to {len(results[0].chains)} test questions, in %",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("")
        for head in ("vocabulary", "right", "derailed", "tokens"):
            table.add_column(head, justify="right")
        right = share_cells([result.accuracy for result in results], ".1f")
        for (name, result), share in zip(self._results.items(), right, strict=True):
            size = f"{self._systems[name].main_model.vocabulary.size:,}"
            label = f"{name} alone" if name in NAMES else name
            table.add_row(label, size, share, f"{100 * result.derailed:.1f}", f"{result.length:.0f}")
            if name == NAMES[-1]:
                table.add_section()
        return table

    def _verdicts(self) -> None:
        best = max(NAMES, key=lambda name: self._results[name].accuracy)
        alone = self._results[best]
        self._console.print(f"Against the best member alone ({best}, {alone.accuracy:.1%})", style="bold")
        for method in METHODS:
            self._console.print(gain_line(method, judge(self._results[method].right, alone.right), METHODS))
        self._console.print(f"{BRACKETS}\n", style="dim")

    def _answer(self) -> None:
        """Print one question that the best method answers right and its main model alone does not."""
        best = max(METHODS, key=lambda name: self._results[name].accuracy)
        ours, theirs = self._results[best], self._results[MAIN]
        indices = [
            index for index, (we, they) in enumerate(zip(ours.right, theirs.right, strict=True)) if we and not they
        ]
        if not indices:
            self._console.print(f"No question here that {best} answers rightly and {MAIN} alone does not.")
            return
        index = indices[0]
        self._console.print("One long answer", style="bold")
        self._console.print(Text(ours.chains[index].prompt))
        for name, result, style in ((best, ours, "green"), (f"{MAIN} alone", theirs, "red")):
            self._console.print(Text(f"{name} ({_verdict_text(result.verdicts[index])}):{result.texts[index]}", style))


def _verdict_text(verdict: Verdict) -> str:
    """Format a verdict."""
    if verdict.derailed:
        return f"derailed after {verdict.steps} look-ups, {verdict.outcome}"
    return f"wrong at look-up {verdict.false[0] + 1}" if verdict.false else "right"
