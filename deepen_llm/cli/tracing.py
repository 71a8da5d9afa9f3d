"""Terminal views of traces and log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepen_llm.outputs import Candidate, TokenLogprob, TokenTrace

_SHOWN = 3  # candidates of each distribution that fit 80 columns
_LONGEST = 12  # characters of a token that are shown


def trace_view(trace: TokenTrace) -> RenderableType:
    """Format the trace of one token: the members' predictions, the fused ones, and the reason."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for view in trace.members:
        table.add_row(Text(view.name, "cyan"), f"{view.weight:.2f}", *_cells(view.top, None))
    table.add_row(Text("fused", "bold"), "", *_cells(trace.fused, trace.chosen))
    style = "bold yellow" if trace.changed else "bold green"
    head = Text.assemble((_quoted(trace.chosen), style), "  ", (trace.reason, "yellow" if trace.changed else "dim"))
    return Group(head, table, "")


def logprob_lines(tokens: Sequence[TokenLogprob]) -> Iterator[Text]:
    """Format a line for each token: the token, its log-probability, and the likeliest tokens."""
    for token in tokens:
        beside = "  ".join(f"{_quoted(candidate)} {candidate.logprob:.3f}" for candidate in token.top)
        yield Text.assemble(
            (_quoted(token), "bold"), f" {token.logprob:.3f}", (f"   {beside}" if beside else "", "dim")
        )


def _cells(top: Sequence[Candidate], chosen: Candidate | None) -> list[Text]:
    shown = [candidate for candidate in top[:_SHOWN] if candidate.logprob > -math.inf]
    return [
        Text(
            f"{_quoted(candidate)} {math.exp(candidate.logprob):.2f}",
            "bold green" if chosen and candidate.token == chosen.token else _shade(candidate),
        )
        for candidate in shown
    ]


def _shade(candidate: Candidate) -> str:
    return "dim" if candidate.logprob < math.log(0.05) else ""


def _quoted(candidate: Candidate) -> str:
    shown = repr(candidate.text)
    return shown if len(shown) <= _LONGEST + 2 else f"{shown[:_LONGEST]}…'"
