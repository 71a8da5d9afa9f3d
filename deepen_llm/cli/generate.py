"""``deepen generate``: continue a prompt."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepen_llm.cli.options import EnsembleOptions, TokenHealing
from deepen_llm.cli.signatures import with_options
from deepen_llm.cli.terminal import errors, note, write
from deepen_llm.errors import PromptError

if TYPE_CHECKING:
    from deepen_llm.llm import EnsembleLLM
    from deepen_llm.outputs import Output


@with_options(EnsembleOptions)
def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    options: EnsembleOptions,
    n: Annotated[int | None, typer.Option("--n", help="Samples. Default: 1.", rich_help_panel="Generation")] = None,
    token_healing: TokenHealing = None,
    logprobs: Annotated[
        int | None, typer.Option(help="Show each token's log-probability and this many likeliest tokens.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show how each token came about.")] = False,
    trace_html: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, writable=True, help="Write a page that shows how each token came about.", metavar="FILE"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Continue a prompt with several models at once.

    The generated text goes to standard output, as it comes; all else to standard error.
    """
    if trace_html and not trace_html.parent.is_dir():  # fail early
        raise typer.BadParameter(f"--trace-html {trace_html}: there is no folder {trace_html.parent}")
    text = _from_stdin() if prompt == "-" else prompt
    llm = options.load(n=n, token_healing=token_healing, logprobs=logprobs, trace=trace or None)
    generation = llm.settings.generation
    if trace_html and generation.n > 1:
        raise typer.BadParameter(f"--trace-html shows one answer, not {generation.n}; use --n 1")
    whole = as_json or trace_html or generation.n > 1 or generation.trace or generation.logprobs is not None
    if not whole:
        _stream(llm, text)
        return
    output = llm.generate(text, trace=generation.trace or bool(trace_html))
    requested = output if generation.trace else _untraced(output)
    if as_json:
        from deepen_llm.cli.records import as_record

        write(json.dumps(as_record(requested), allow_nan=False) + "\n")
    else:
        _show(requested)
    if trace_html and output.trace is not None:
        trace_html.write_text(output.trace.to_html(), encoding="utf-8", errors="replace")


def _from_stdin() -> str:
    """Read the standard input without the final line break."""
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


def _untraced(output: Output) -> Output:
    return replace(output, samples=tuple(replace(sample, trace=None) for sample in output.samples))


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
