"""Formats of tool calls in the chat templates of model families."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ToolFormat:
    """A format of tool calls: ``opening begin NAME middle ARGUMENTS end [between begin ...] closing``.

    Attributes:
        name: The model family.
        begin: The text before a tool's name.
        middle: The text between the name and the arguments, which are JSON.
        end: The text after the arguments.
        opening: The text before the first call.
        between: The text between two calls.
        closing: The text after the last call.
        trigger: The beginning of ``opening`` and ``begin`` that starts calls and occurs in no other text.
        alone: Whether a call is the whole answer, without text before it or a second call.
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
        """Format the text of a call before its arguments, without the opening."""
        return f"{self.begin}{self.quoted(tool)}{self.middle}"

    def write(self, calls: Iterator[tuple[str, str]]) -> str:
        """Format calls as in an answer.

        Args:
            calls: Pairs of a name and arguments as JSON.
        """
        written = (f"{self.head(name)}{arguments}{self.end}" for name, arguments in calls)
        return f"{self.opening}{self.between.join(written)}{self.closing}"

    def quoted(self, tool: str) -> str:
        """Escape a tool's name for a call."""
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
"""Mistral, up to version 7 of its tokenizer; with the space that SentencePiece inserts."""

MISTRAL_ARGS = ToolFormat("mistral_args", begin="[TOOL_CALLS]", middle="[ARGS]", end="", trigger="[TOOL_CALLS]")
"""Mistral, from version 11 of its tokenizer."""

KNOWN = (HERMES, MISTRAL_SPACED, MISTRAL, MISTRAL_ARGS, LLAMA3)
