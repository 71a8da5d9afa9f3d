"""``deepen chat``: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepen_llm.cli.options import EnsembleOptions
from deepen_llm.cli.signatures import with_options
from deepen_llm.cli.terminal import note, show_error, write
from deepen_llm.errors import DeepenError

if TYPE_CHECKING:
    from deepen_llm.llm import EnsembleLLM

_HELP = "/reset forgets all, /exit or Ctrl-D leaves, Ctrl-C stops an answer"


@with_options(EnsembleOptions)
def chat(
    system: Annotated[str | None, typer.Option(help="A system message that begins the conversation.")] = None,
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            help="Variables for the members' chat templates, as JSON: '{\"enable_thinking\": false}'.", metavar="JSON"
        ),
    ] = None,
    *,
    options: EnsembleOptions,
) -> None:
    """Talk with several models as one; each reads its own chat template.

    /reset forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer.
    """
    ChatSession(options.load(n=1, chat_template_kwargs=_variables(chat_template_kwargs)), system).run()


def _variables(text: str | None) -> Any:
    """Parse template variables in JSON; None if there are none."""
    try:
        variables = json.loads(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(f"--chat-template-kwargs {text} is no JSON: {error}") from error
    if variables is not None and not isinstance(variables, dict):
        raise typer.BadParameter(f"--chat-template-kwargs {text} is no JSON object")
    return variables


class ChatSession:
    """A chat session on the standard streams.

    Args:
        llm: The ensemble.
        system: A system message, if any.
    """

    def __init__(self, llm: EnsembleLLM, system: str | None) -> None:
        self._llm, self._system = llm, system
        self._interactive = sys.stdin.isatty()
        self._messages = self._beginning()

    def run(self) -> None:
        """Read and answer until the end of the input or ``/exit``."""
        if self._interactive:
            note(_HELP)
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  # line editing and history in input(); not on every platform
        while (line := self._read()) not in {None, "/exit"}:
            if line == "/reset":
                self._messages = self._beginning()
                note("forgotten")
            elif line and line.startswith("/"):
                note(f"{line.split()[0]} is no command: {_HELP}")
            elif line:
                self._turn(line)

    def _beginning(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._system}] if self._system else []

    def _read(self) -> str | None:
        """The next line; None at the end of the input."""
        try:
            return input("> " if self._interactive and sys.stdout.isatty() else "").strip()
        except EOFError:
            if self._interactive:
                note("")
            return None
        except KeyboardInterrupt:
            if not self._interactive:
                raise
            note(f"\n{_HELP}")
            return ""

    def _turn(self, line: str) -> None:
        """Answer one line; the conversation keeps the generated part of a stopped answer."""
        messages = [*self._messages, {"role": "user", "content": line}]
        try:
            answer = self._answer(messages)
        except DeepenError as error:
            if not self._interactive:
                raise
            show_error(error)
            return
        if answer:
            self._messages = [*messages, {"role": "assistant", "content": answer}]

    def _answer(self, messages: list[dict[str, str]]) -> str:
        answer = ""
        stream = self._llm.stream_chat(messages)
        try:
            for piece in stream:
                text = piece if answer else piece.lstrip()  # with many templates the answer begins with a space
                answer += text
                write(text)
        except KeyboardInterrupt:
            note(" (stopped)")
        finally:
            stream.close()
        write("\n")
        return answer
