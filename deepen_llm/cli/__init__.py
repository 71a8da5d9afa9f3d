"""The command line: ``deepen``.

Only the standard library, typer and rich are imported here; a command imports what it needs when it runs, so that
``deepen --help`` does not wait for torch.
"""

from __future__ import annotations

from typing import Annotated

import typer

from deepen_llm.cli.bench import bench
from deepen_llm.cli.chat import chat
from deepen_llm.cli.demo import demo
from deepen_llm.cli.evaluation import SETTINGS, evaluate
from deepen_llm.cli.generate import generate
from deepen_llm.cli.inspection import inspect
from deepen_llm.cli.terminal import Group, examples, paragraphs
from deepen_llm.cli.tune import tune

app = typer.Typer(
    name="deepen",
    cls=Group,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from deepen_llm.storage.version import __version__

        typer.echo(f"deepen-llm {__version__}")
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    epilog=examples(
        "deepen demo",
        "deepen inspect",
        "deepen generate -m gpt2 -m Qwen/Qwen2.5-0.5B 'The sea is'",
        "deepen chat --config ensemble.yaml",
    ),
)
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Several local language models with different vocabularies decode as one model."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command, shown in (
    (demo, ("deepen demo", "deepen demo --subject capitals --subject sums")),
    (
        generate,
        (
            "deepen generate -m gpt2 -m Qwen/Qwen2.5-0.5B 'The sea is'",
            "echo 'The sea is' | deepen generate -c ensemble.yaml --json -",
            "deepen generate -c ensemble.yaml --fusion bayes --trace 'The sea is'",
        ),
    ),
    (
        chat,
        (
            "deepen chat -m Qwen/Qwen2.5-0.5B-Instruct -m HuggingFaceTB/SmolLM2-360M-Instruct",
            "deepen chat --config ensemble.yaml --system 'Answer in one sentence.'",
        ),
    ),
    (
        inspect,
        (
            "deepen inspect",
            "deepen inspect -m gpt2 -m Qwen/Qwen2.5-0.5B --json",
            "deepen inspect -c ensemble.yaml --dataset dev.jsonl --chat --plot pictures",
        ),
    ),
    (
        tune,
        (
            "deepen tune",
            "deepen tune dev.jsonl -m gpt2 -m Qwen/Qwen2.5-0.5B --test test.jsonl",
            "deepen tune dev.jsonl -c members.yaml --chat --metric contains --plot pictures",
        ),
    ),
    (
        bench,
        (
            "deepen bench -m gpt2 -m Qwen/Qwen2.5-0.5B",
            "deepen bench -c ensemble.yaml --tokens 128 --batch 16 --repeats 5 --json",
        ),
    ),
):
    app.command(help=paragraphs(command.__doc__), epilog=examples(*shown))(command)

app.command(
    "eval",
    context_settings=SETTINGS,
    epilog=examples(
        "deepen eval --model deepen --model_args config=ensemble.yaml --tasks piqa,gsm8k --batch_size auto"
    ),
)(evaluate)
