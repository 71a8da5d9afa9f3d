"""What all commands share with the terminal: streams, errors, exit codes, and quiet libraries."""

from __future__ import annotations

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
"""Everything that is not a command's result."""

_CLOSED_PIPE = 141  # what a shell reports of a program that a closed pipe ended


class Group(TyperGroup):
    """The commands, all run under the same rules."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with outcome():
            return super().invoke(ctx)


@contextmanager
def outcome() -> Iterator[None]:
    """Turn what ends a command early into an exit code: a `DeepenError` 1, Ctrl-C 130, a closed pipe 141."""
    _replace_what_cannot_be_written()
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
    """Tell an error and its hint on the standard error stream."""
    errors.print(Text.assemble(("error: ", "bold red"), error.message))
    errors.print(Text.assemble(("hint: ", "bold cyan"), error.hint))


def note(text: str) -> None:
    """A remark on the standard error stream."""
    errors.print(Text(text, style="dim"))


def write(text: str) -> None:
    """Write to the standard output stream, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def examples(*commands: str) -> str:
    """An epilogue for a help text."""
    shown = "\n".join(f"  [cyan]{escape(command)}[/cyan]" for command in commands)
    return f"Examples:\n{shown}"


def quiet_libraries() -> None:
    """Switch off what `transformers` and the hub print while models load, and their remarks on long texts."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    if not errors.is_terminal:
        disable_progress_bars()


def _shorten_warnings() -> None:
    """Warnings for users are a line each; those for programmers are not shown."""
    if not sys.warnoptions:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
    warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")


def _replace_what_cannot_be_written() -> None:
    """A terminal that cannot show a character gets a question mark, not a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _abandon_stdout() -> None:
    """Let the interpreter flush into nothing when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
