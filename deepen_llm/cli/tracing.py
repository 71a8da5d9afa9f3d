"""Traces and log-probabilities for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepen_llm.outputs import Candidate, TokenLogprob, TokenTrace

_SHOWN = 3  # candidates of each distribution: more do not fit 80 columns
_LONGEST = 12  # characters of a token that are shown


def trace_view(trace: TokenTrace) -> RenderableType:
    """One token: what each member said, what came of it, and why."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for view in trace.members:
        table.add_row(Text(view.name, "cyan"), f"{view.weight:.2f}", *_cells(view.top, None))
    table.add_row(Text("fused", "bold"), "", *_cells(trace.fused, trace.chosen))
    style = "bold yellow" if trace.changed else "bold green"
    head = Text.assemble((_quoted(trace.chosen), style), "  ", (trace.reason, "yellow" if trace.changed else "dim"))
    return Group(head, table, "")


def logprob_lines(tokens: Sequence[TokenLogprob]) -> Iterator[Text]:
    """A line for each token: the token, its log-probability, and the likeliest ones."""
    for token in tokens:
        beside = "  ".join(f"{_quoted(one)} {one.logprob:.3f}" for one in token.top)
        yield Text.assemble(
            (_quoted(token), "bold"), f" {token.logprob:.3f}", (f"   {beside}" if beside else "", "dim")
        )


def _cells(top: Sequence[Candidate], chosen: Candidate | None) -> list[Text]:
    shown = [one for one in top[:_SHOWN] if one.logprob > -math.inf]
    return [
        Text(
            f"{_quoted(one)} {math.exp(one.logprob):.2f}",
            "bold green" if chosen and one.token == chosen.token else _shade(one),
        )
        for one in shown
    ]


def _shade(one: Candidate) -> str:
    return "dim" if one.logprob < math.log(0.05) else ""


def _quoted(one: Candidate) -> str:
    shown = repr(one.text)
    return shown if len(shown) <= _LONGEST + 2 else f"{shown[:_LONGEST]}…'"
