"""``deepen eval``: the command line of lm-evaluation-harness, with the model ``deepen``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deepen_llm.cli.terminal import quiet_libraries
from deepen_llm.cli.threads import run_small_on_one_thread
from deepen_llm.errors import LoadError

SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The harness parses all arguments, including ``--help``."""


def evaluate(
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of lm_eval.", show_default=False)] = None,
) -> None:
    """Evaluate an ensemble with lm-evaluation-harness: the arguments of `lm_eval`, with `--model deepen`."""
    try:
        from lm_eval.__main__ import cli_evaluate

        from deepen_llm.harness import DeepenLM  # registers the model
    except ImportError as error:
        raise LoadError(
            f"lm-evaluation-harness cannot be imported: {error}", hint="pip install 'deepen-llm[harness]'"
        ) from error
    quiet_libraries()
    DeepenLM.on_loaded = staticmethod(lambda llm: run_small_on_one_thread(llm.members))
    sys.argv = ["deepen eval", *(arguments or ["--help"])]
    cli_evaluate()
