"""How models write tool calls: the forms that chat templates of the field have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ToolFormat:
    """One way of writing calls; ``opening begin NAME middle ARGUMENTS end [between begin ...] closing``.

    Attributes:
        name: Who writes them so.
        begin: What stands before a tool's name.
        middle: What stands between its name and its arguments, which are JSON.
        end: What stands behind the arguments.
        opening: What stands before the first call.
        between: What stands between two calls.
        closing: What stands behind the last call.
        trigger: A beginning of opening and begin that no other text has.
        alone: Whether a call is the whole answer: no text before it, no second one.
    """

    name: str
    begin: str
    middle: str
    end: str
    trigger: str
    opening: str = ""
    between: str = ""
    closing: str = ""
    alone: bool = False

    def head(self, tool: str) -> str:
        """All that stands before the arguments of a call, its opening left out."""
        return f"{self.begin}{self.quoted(tool)}{self.middle}"

    def write(self, calls: Iterator[tuple[str, str]]) -> str:
        """Calls as an answer holds them.

        Args:
            calls: Names, and arguments as JSON.
        """
        written = (f"{self.head(name)}{arguments}{self.end}" for name, arguments in calls)
        return f"{self.opening}{self.between.join(written)}{self.closing}"

    def quoted(self, tool: str) -> str:
        """A tool's name as a call has it."""
        return json.dumps(tool, ensure_ascii=False)[1:-1] if self.begin.endswith('"') else tool


HERMES = ToolFormat(
    "hermes",
    begin='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    end="}\n</tool_call>",
    trigger="<tool_call>",
    between="\n",
)
"""Hermes, Qwen and many others."""

LLAMA3 = ToolFormat("llama3", begin='{"name": "', middle='", "parameters": ', end="}", trigger='{"name": "', alone=True)
"""Llama 3.1 and later; a call is the whole answer."""

MISTRAL = ToolFormat(
    "mistral",
    begin='{"name": "',
    middle='", "arguments": ',
    end="}",
    trigger="[TOOL_CALLS]",
    opening="[TOOL_CALLS][",
    between=", ",
    closing="]",
)
MISTRAL_SPACED = replace(MISTRAL, opening="[TOOL_CALLS] [")
"""Mistral, to version 7 of its tokenizer; with a space where SentencePiece makes one."""

MISTRAL_ARGS = ToolFormat("mistral_args", begin="[TOOL_CALLS]", middle="[ARGS]", end="", trigger="[TOOL_CALLS]")
"""Mistral, from version 11 of its tokenizer."""

KNOWN = (HERMES, MISTRAL_SPACED, MISTRAL, MISTRAL_ARGS, LLAMA3)
