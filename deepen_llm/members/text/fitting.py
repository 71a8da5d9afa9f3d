"""Finding the form of a conversation that a chat template writes in full."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.members.text.forms import Messages, forms
from deepen_llm.members.text.template import ChatTemplate, Rendering
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.history import IndexedMessage, named
from deepen_llm.tools.messages import ROLES
from deepen_llm.tools.plain_text import speaks_of_tools

OPEN = "zqopenqz"
"""A mark at the end of a last message that is continued; a template's text after it is cut off."""
_PLAIN = re.compile("[A-Za-z0-9]+")


class Fitting:
    """Brings conversations into forms that one template writes in full.

    Args:
        name: The member's name, for errors.
        template: Its template.
        own_format: Returns the format in which the template writes calls; None where it does not write tools.
    """

    def __init__(self, name: str, template: ChatTemplate, own_format: Callable[[], ToolFormat | None]) -> None:
        self._name, self._template, self._own_format = name, template, own_format

    def fitted(self, messages: Sequence[Mapping[str, Any]], rendering: Rendering) -> tuple[Messages, Rendering, str]:
        """The first form of the messages that the template writes in full, how it is rendered, and its text.

        Raises:
            PromptError: There is none.
        """
        self._template.require()
        self._check_roles(messages)
        result = self.first(messages, rendering)
        if not isinstance(result, PromptError):
            return result
        closed = replace(rendering, answering=True)  # the last message of a part is not the one that is continued
        for count in range(len(messages) - 1, 0, -1):
            if not isinstance(self.first(messages[:count], closed), PromptError):
                raise self.refused(messages, count, result.message) from result
        raise self.refused(messages, 0, result.message) from result

    def first(
        self, messages: Sequence[Mapping[str, Any]], rendering: Rendering
    ) -> tuple[Messages, Rendering, str] | PromptError:
        """As `fitted`; where there is no such form, the template's error for the first form, and for others if none."""
        marked, probe = [dict(message) for message in messages], _probe(messages)
        if not rendering.answering:
            marked[-1]["content"] += OPEN
        own = self._own_format() if rendering.tools or speaks_of_tools(marked) else None
        shown = rendering if own else replace(rendering, tools=())
        tried, refusal = list[Messages](), None
        for form in forms(marked, rendering.tools, own):
            formed = form(marked)
            if formed in tried or not formed:
                continue
            tried.append(formed)
            try:
                text = self._template.text(formed, shown)
            except PromptError as error:
                refusal = refusal or error
                continue
            missing = self._missing_text(form(probe), shown, messages) or self._missing_tool(text, rendering.tools)
            if missing is None and (rendering.answering or OPEN in text):
                return formed, shown, text
            refusal = refusal or missing
        return refusal or PromptError("it does not write the end of the last message", hint="")

    def _missing_text(
        self, probe: Messages, rendering: Rendering, messages: Sequence[Mapping[str, Any]]
    ) -> PromptError | None:
        """The error where the template leaves out the text of a message; None where it writes all."""
        try:
            text = self._template.text(probe, rendering).lower()
        except PromptError:  # the template checks contents: it took the real ones and refuses the probe's
            return None
        for index, message in enumerate(messages):
            if any(mark not in text for mark in _marks(index, message)):
                missing = f"the chat template of member {self._name} leaves out what {called(messages, index)} says"
                return PromptError(missing, hint="")
        return None

    def _missing_tool(self, text: str, tools: Sequence[Tool]) -> PromptError | None:
        """The error where the template leaves out the name of a tool; None where it writes all.

        Only the letters and digits of a name are compared, since templates escape other characters in their own ways.
        """
        missing = next((tool.name for tool in tools if any(run not in text for run in _PLAIN.findall(tool.name))), None)
        if missing is None:
            return None
        return PromptError(f"the chat template of member {self._name} leaves out the tool {missing!r}", hint="")

    def refused(self, messages: Sequence[Mapping[str, Any]], index: int, reason: str) -> PromptError:
        """The error that names a message, or the template where it refuses any message.

        Args:
            messages: The conversation.
            index: The message that the error names.
            reason: The template's error.
        """
        prefix = f"the chat template of member {self._name} refuses these messages: "
        try:
            self._template.text([{"role": "user", "content": "Hello."}], Rendering())
        except PromptError as error:
            return PromptError(
                f"the chat template of member {self._name} cannot be used: {error.message.removeprefix(prefix)}",
                hint="set tokenizer.chat_template, or choose another checkpoint",
            )
        return PromptError(
            f"the chat template of member {self._name} refuses {called(messages, index)}, in every form that keeps its "
            f"meaning: {reason.removeprefix(prefix)}",
            hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
        )

    def _check_roles(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for index, message in enumerate(messages):
            if not self._template.knows(message["role"]):
                raise PromptError(
                    f"{called(messages, index)} has a role that the chat template of member {self._name} does not know",
                    hint=f"give one of {', '.join(ROLES)}; developer, human, ai, model and function are known too",
                )


def _probe(messages: Sequence[Mapping[str, Any]]) -> Messages:
    """The messages with marks in place of contents and arguments, which show what a template leaves out."""
    probe = []
    for index, message in enumerate(messages):
        marks, marked = iter(_marks(index, message)), dict(message)
        if message["content"].strip():
            marked["content"] = next(marks)
        if calls := message.get("tool_calls"):
            marked["tool_calls"] = [_probed(call, next(marks)) for call in calls]
        probe.append(marked)
    return probe


def _probed(call: Mapping[str, Any], mark: str) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": {"probe": mark}}}


def _marks(index: int, message: Mapping[str, Any]) -> Iterator[str]:
    if message["content"].strip():
        yield f"probe{index}text"
    for number, _ in enumerate(message.get("tool_calls") or ()):
        yield f"probe{index}call{number}end"


def called(messages: Sequence[Mapping[str, Any]], index: int) -> str:
    """A message's name in errors, with its index in the caller's list."""
    message = messages[index]
    return named(message.index if isinstance(message, IndexedMessage) else index, message)
