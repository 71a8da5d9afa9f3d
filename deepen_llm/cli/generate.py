"""``deepen generate``: continue a prompt."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from deepen_llm.cli.options import Given, takes
from deepen_llm.cli.terminal import errors, note, write
from deepen_llm.errors import PromptError

if TYPE_CHECKING:
    from deepen_llm.ensemble import EnsembleLLM
    from deepen_llm.outputs import Output


@takes(Given)
def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    given: Given,
    n: Annotated[int | None, typer.Option("--n", help="Samples. Default: 1.", rich_help_panel="Generation")] = None,
    logprobs: Annotated[
        int | None, typer.Option(help="Show each token's log-probability and this many likeliest tokens.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show how each token came about.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Continue a prompt with several models at once.

    The generated text goes to standard output, as it comes; all else to standard error.
    """
    text = _from_stdin() if prompt == "-" else prompt
    llm = given.load(n=n, logprobs=logprobs, trace=trace or None)
    generation = llm.settings.generation
    whole = as_json or generation.n > 1 or generation.trace or generation.logprobs is not None
    if not whole:
        _stream(llm, text)
    elif as_json:
        from deepen_llm.cli.records import as_record

        write(json.dumps(as_record(llm.generate(text)), allow_nan=False) + "\n")
    else:
        _show(llm.generate(text))


def _from_stdin() -> str:
    """The standard input, but for the line break that ends it."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"the standard input is not UTF-8: {error}", hint="convert it, for example with: iconv -t UTF-8"
        ) from None


def _stream(llm: EnsembleLLM, prompt: str) -> None:
    for piece in llm.stream(prompt):
        write(piece)
    write("\n")


def _show(output: Output) -> None:
    from deepen_llm.cli.tracing import logprob_lines, trace_view

    for number, sample in enumerate(output.samples, 1):
        if len(output.samples) > 1:
            note(f"[{number}/{len(output.samples)}]")
        write(sample.text + "\n")
        for token in sample.trace or ():
            errors.print(trace_view(token))
        for line in logprob_lines(sample.logprobs or ()):
            errors.print(line)
