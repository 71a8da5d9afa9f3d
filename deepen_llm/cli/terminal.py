"""Terminal functions of all commands: streams, errors, exit codes, and quiet libraries."""

from __future__ import annotations

import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from typer.core import TyperGroup

from deepen_llm.errors import DeepenError

errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""The console for all output that is no result of a command."""

_CLOSED_PIPE = 141  # exit code of a program that a closed pipe ends, as in shells


class Group(TyperGroup):
    """The group of all commands, which run with common error handling."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with outcome():
            return super().invoke(ctx)


@contextmanager
def outcome() -> Iterator[None]:
    """Convert exceptions of a command to exit codes: a `DeepenError` 1, Ctrl-C 130, a closed pipe 141."""
    _replace_unsupported_characters()
    try:
        with warnings.catch_warnings():
            _shorten_warnings()
            yield
            sys.stdout.flush()
    except DeepenError as error:
        show_error(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        _abandon_stdout()
        raise typer.Exit(_CLOSED_PIPE) from None
    except OSError as error:
        errors.print(Text.assemble(("error: ", "bold red"), f"the output cannot be written: {error}"))
        _abandon_stdout()
        raise typer.Exit(1) from None


def show_error(error: DeepenError) -> None:
    """Print an error and its hint on the standard error stream."""
    errors.print(Text.assemble(("error: ", "bold red"), error.message))
    errors.print(Text.assemble(("hint: ", "bold cyan"), error.hint))


def note(text: str) -> None:
    """Print a remark on the standard error stream."""
    errors.print(Text(text, style="dim"))


def write(text: str) -> None:
    """Write to the standard output stream and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def examples(*commands: str) -> str:
    """Format the examples of a help text."""
    shown = "\n".join(f"  [cyan]{escape(command)}[/cyan]" for command in commands)
    return f"Examples:\n{shown}"


def paragraphs(documentation: str | None) -> str:
    """Join the lines of each paragraph of a docstring: a help text keeps line breaks, which then cut its own lines."""
    return "\n\n".join(" ".join(one.split()) for one in inspect.cleandoc(documentation or "").split("\n\n"))


def quiet_libraries() -> None:
    """Turn off progress bars and warnings of ``transformers`` and the hub."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    if not errors.is_terminal:
        disable_progress_bars()


def _shorten_warnings() -> None:
    """Print warnings for users on one line each, and hide those for programmers."""
    if not sys.warnoptions:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
    warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")


def _replace_unsupported_characters() -> None:
    """Print a question mark for a character that the terminal cannot encode, instead of raising."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _abandon_stdout() -> None:
    """Redirect the standard output to the null device, so that flushing at exit succeeds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
