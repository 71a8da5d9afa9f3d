"""``deepen bench``: the speed of an ensemble, compared with that of its members alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deepen_llm.cli.members import MemberOptions
from deepen_llm.cli.signatures import with_options
from deepen_llm.cli.terminal import errors, note, quiet_libraries, write
from deepen_llm.cli.threads import run_small_on_one_thread

if TYPE_CHECKING:
    from rich.table import Table

    from deepen_llm.diagnostics.cost import Cost, CostMeasurement
    from deepen_llm.diagnostics.timing import Ratio


@with_options(MemberOptions)
def bench(
    options: MemberOptions,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A text to continue; repeat, for a batch of different ones.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="The most tokens of each answer.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Texts that decode together in the row with a batch.")] = 8,
    draft_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens drafted ahead in the row with drafts. Default: the file's, or 4.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Measure tokens per second: each member alone, and the ensemble plain, with drafts and in a batch.

    Each is compared with the floor: every member's one-token forward, one after the other. Decoding is greedy. Ctrl-C
    ends it with what was measured so far.
    """
    with errors.status("Starting..."):
        from deepen_llm import EnsembleLLM
        from deepen_llm.diagnostics.cost import PROMPTS, CostMeasurement

        config = options.configuration()
    quiet_libraries()
    with errors.status(f"Loading {len(config.members)} members..."):
        llm = EnsembleLLM.from_config(config)
    run_small_on_one_thread([*llm.members, *([llm.draft_model] if llm.draft_model else [])])
    drafts = draft_tokens or config.draft_tokens or 4
    measurement = CostMeasurement(llm, prompt or PROMPTS, tokens=tokens, batch=batch, draft_tokens=drafts)
    whole = _measure(measurement, repeats)
    costs = measurement.costs
    if as_json:
        record = {"members": [member.name for member in llm.members], "tokens": tokens, "batch": batch}
        rows = [cost.record() for cost in costs]
        write(json.dumps({**record, "repeats": repeats, "interrupted": not whole, "rows": rows}) + "\n")
    elif costs:
        _show(costs, tokens, batch)
    if not whole:
        note("Interrupted: this is what was measured so far." if costs else "Interrupted: nothing was measured yet.")
        raise typer.Exit(130)


def _measure(measurement: CostMeasurement, repeats: int) -> bool:
    """Measure, with progress shown; False if Ctrl-C ends it."""
    try:
        note("Measuring; Ctrl-C shows what was measured so far.")
        with errors.status("Measuring...") as status:
            measurement.run(repeats, lambda side: status.update(f"Measuring: {side}"))
    except KeyboardInterrupt:
        return False
    return True


def _show(costs: Sequence[Cost], tokens: int, batch: int) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(costs))
    console.print(
        "Medians, in brackets the smallest and the largest. Prompts are included, but for the floor.", style="dim"
    )
    for cost in costs:
        requested = tokens * (batch if cost.name.startswith("a batch") else 1)
        if cost.kind == "ensemble" and cost.tokens < requested:
            note(
                f"{cost.name}: ended after {cost.tokens} of {requested} tokens; give --prompt a text with a longer "
                "continuation"
            )


def _table(costs: Sequence[Cost]) -> Table:
    from rich.table import Table

    table = Table(title="What decoding costs", title_justify="left", title_style="bold")
    for name in ("", "tokens/s", "time of a token, floor = 1"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    kind = costs[0].kind
    for cost in costs:
        if cost.kind != kind:
            table.add_section()
            kind = cost.kind
        name = f"{cost.name}, alone" if cost.kind == "alone" else cost.name
        table.add_row(name, _spread(cost.rate, 1), _spread(cost.over_floor, 2))
    return table


def _spread(ratio: Ratio, digits: int) -> str:
    median, low, high = (f"{value:,.{digits}f}" for value in (ratio.value, ratio.low, ratio.high))
    return f"{median} [{low}, {high}]" if low != high else median
