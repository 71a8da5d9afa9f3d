"""Finding the form of a conversation that a chat template takes whole."""

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
from deepen_llm.tools.history import named
from deepen_llm.tools.messages import ROLES
from deepen_llm.tools.plain_text import speaks_of_tools

OPEN = "zqopenqz"
"""Stands at the end of a last message that goes on."""
_PLAIN = re.compile("[A-Za-z0-9]+")


class Fitting:
    """Brings conversations into forms that one template takes.

    Args:
        name: What messages call the member.
        template: Its template.
        own_format: How that writes calls; None where it knows no tools.
    """

    def __init__(self, name: str, template: ChatTemplate, own_format: Callable[[], ToolFormat | None]) -> None:
        self._name, self._template, self._own_format = name, template, own_format

    def fitted(self, messages: Sequence[Mapping[str, Any]], how: Rendering) -> tuple[Messages, Rendering, str]:
        """The first form of the messages that the template takes whole, and its text.

        Raises:
            PromptError: There is none.
        """
        self._template.require()
        self._check_roles(messages)
        found = self.first(messages, how)
        if not isinstance(found, PromptError):
            return found
        closed = replace(how, answering=True)  # only a whole conversation has a last message that goes on
        for count in range(len(messages) - 1, 0, -1):
            if not isinstance(self.first(messages[:count], closed), PromptError):
                raise self.refused(messages, count, found.message) from found
        raise self.refused(messages, 0, found.message) from found

    def first(
        self, messages: Sequence[Mapping[str, Any]], how: Rendering
    ) -> tuple[Messages, Rendering, str] | PromptError:
        """As `fitted`; else why the template takes no form, in its own words for the messages as they are."""
        given, probe = [dict(message) for message in messages], _probe(messages)
        if not how.answering:
            given[-1]["content"] += OPEN
        own = self._own_format() if how.tools or speaks_of_tools(given) else None
        shown = how if own else replace(how, tools=())
        tried, refusal = list[Messages](), None
        for form in forms(given, how.tools, own):
            plain = form(given)
            if plain in tried or not plain:
                continue
            tried.append(plain)
            try:
                text = self._template.text(plain, shown)
            except PromptError as error:
                refusal = refusal or error
                continue
            lost = self._lost(form(probe), shown, messages) or self._untold(text, how.tools)
            if lost is None and (how.answering or OPEN in text):
                return plain, shown, text
            refusal = refusal or lost
        return refusal or PromptError("it has no place for the end of the last message", hint="")

    def _lost(self, probe: Messages, how: Rendering, messages: Sequence[Mapping[str, Any]]) -> PromptError | None:
        """What is wrong where the template leaves a message's text out; None where all is there."""
        try:
            shown = self._template.text(probe, how).lower()
        except PromptError:  # it looks into contents, and took the real ones
            return None
        for place, message in enumerate(messages):
            if any(mark not in shown for mark in _marks(place, message)):
                said = f"the chat template of member {self._name} leaves out what {called(messages, place)} says"
                return PromptError(said, hint="")
        return None

    def _untold(self, text: str, tools: Sequence[Tool]) -> PromptError | None:
        """What is wrong where the template tells nothing of a tool; None where all are told of.

        Templates escape what is no letter or digit in their own ways, so names are looked for without.
        """
        lost = next((tool.name for tool in tools if any(run not in text for run in _PLAIN.findall(tool.name))), None)
        if lost is None:
            return None
        return PromptError(f"the chat template of member {self._name} leaves out the tool {lost!r}", hint="")

    def refused(self, messages: Sequence[Mapping[str, Any]], place: int, why: str) -> PromptError:
        """The error that names a message, or the template where that takes none at all.

        Args:
            messages: The conversation.
            place: Which of them it is about.
            why: What the template said.
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
            f"the chat template of member {self._name} refuses {called(messages, place)}, in every form that keeps its "
            f"meaning: {why.removeprefix(prefix)}",
            hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
        )

    def _check_roles(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for place, message in enumerate(messages):
            if not self._template.knows(message["role"]):
                raise PromptError(
                    f"{called(messages, place)} has a role that the chat template of member {self._name} does not know",
                    hint=f"give one of {', '.join(ROLES)}; developer, human, ai, model and function are known too",
                )


def _probe(messages: Sequence[Mapping[str, Any]]) -> Messages:
    """The messages with marks in the place of what they say, which show what a template leaves out."""
    made = []
    for place, message in enumerate(messages):
        marks, one = iter(_marks(place, message)), dict(message)
        if message["content"].strip():
            one["content"] = next(marks)
        if calls := message.get("tool_calls"):
            one["tool_calls"] = [_probed(call, next(marks)) for call in calls]
        made.append(one)
    return made


def _probed(call: Mapping[str, Any], mark: str) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": {"probe": mark}}}


def _marks(place: int, message: Mapping[str, Any]) -> Iterator[str]:
    if message["content"].strip():
        yield f"probe{place}text"
    for number, _ in enumerate(message.get("tool_calls") or ()):
        yield f"probe{place}call{number}end"


def called(messages: Sequence[Mapping[str, Any]], place: int) -> str:
    """What errors call a message; its index is that in the caller's list."""
    return named(getattr(messages[place], "place", place), messages[place])
