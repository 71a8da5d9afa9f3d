"""Conversations through a member's own chat template, tools and all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.members.encoding import Prompt, TextEncoder
from deepen_llm.members.forms import Messages, forms
from deepen_llm.members.template import ChatTemplate, Rendering
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import HERMES, KNOWN, ToolFormat
from deepen_llm.tools.history import Placed, conversation, named
from deepen_llm.tools.messages import ROLES
from deepen_llm.vocabulary import Vocabulary

_PROBE = Tool("probe_tool", "Probe.", {"type": "object", "properties": {"probe": {"type": "string"}}})
_CALL = {"id": "probe0000", "type": "function", "function": {"name": _PROBE.name, "arguments": {"probe": "value"}}}
_ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "probe0000", "name": _PROBE.name, "content": "probe_answer"},
]
_OPEN = "zqopenqz"  # stands where the last message goes on


class ChatEncoder:
    """Encodes conversations for one member.

    What the template refuses, or leaves out, is brought into the first of the `forms` that it takes whole.

    Args:
        name: What messages call the member.
        tokenizer: Its tokenizer.
        vocabulary: Its vocabulary.
        encoder: Encodes its text.
    """

    def __init__(
        self, name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, encoder: TextEncoder
    ) -> None:
        self._name, self._vocabulary, self._encoder = name, vocabulary, encoder
        self.template = ChatTemplate(name, tokenizer, self.spelled)

    @cached_property
    def own_format(self) -> ToolFormat | None:
        """How the template writes tool calls; None where it knows no tools, or writes calls in no known way."""
        try:
            self.template.require()
            shown = self.template.text(_ASKED, Rendering([_PROBE]))
        except PromptError:
            return None
        shown = re.sub(r"\[CALL_ID\]\w+", "", shown)
        if "probe_answer" not in shown or "Probe." not in shown:
            return None
        return next((form for form in KNOWN if form.opening + form.head(_PROBE.name) in shown), None)

    @property
    def tool_format(self) -> ToolFormat:
        """How the member is to write tool calls."""
        return self.own_format or HERMES

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        variables: Mapping[str, Any] | None = None,
        *,
        continue_final_message: bool = False,
    ) -> Prompt:
        """Encode a conversation, ready for the assistant's answer.

        Args:
            messages: The messages.
            tools: The tools that the assistant may call.
            variables: Variables for the template.
            continue_final_message: Let the last message go on, in place of a new one.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """
        how = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _placed(messages)
        if before := self._before_what_goes_on(messages, how):
            head = self.encode(before, tools, variables)
            return self._encoder.extended(list(head.ids), messages[-1]["content"])
        plain, how, text = self._fitted(messages, how)
        if self.template.in_code:
            return self._encoder.closed(self.template.ids(plain, how))
        if self._spells_special_tokens(plain, how):
            return self._sanitised(plain, how, text)
        text = text.partition(_OPEN)[0] if continue_final_message else text
        return self._encoder.resumable(self._encoder.recognising(text), text, 0)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        variables: Mapping[str, Any] | None = None,
        *,
        continue_final_message: bool = False,
    ) -> str:
        """The text of a conversation as the member reads it, special tokens spelled out; see `encode`."""
        how = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _placed(messages)
        if before := self._before_what_goes_on(messages, how):
            return self.render(before, tools, variables) + str(messages[-1]["content"])
        text = self._fitted(messages, how)[2]
        return text.partition(_OPEN)[0] if continue_final_message else text

    def spelled(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens spelled out."""
        vocabulary = self._vocabulary
        parts = [vocabulary.surfaces[id_] or vocabulary.spellings.get(id_, "").encode() for id_ in ids]
        return b"".join(parts).decode(errors="replace")

    def _before_what_goes_on(
        self, messages: Sequence[Mapping[str, Any]], how: Rendering
    ) -> Sequence[Mapping[str, Any]]:
        """The messages before an assistant's that goes on behind the beginning of an answer to them, as plain text.

        So it does where the template has no place for it: those in code would trim it, others want the user last.
        """
        *before, last = messages
        if how.answering:
            return ()
        if not before or last["role"] != "assistant":
            if self.template.in_code:
                raise self._refused(messages, len(before), "only an assistant's answer to a message goes on")
            return ()
        self.template.require()
        return before if self.template.in_code or isinstance(self._first_form(messages, how), PromptError) else ()

    def _fitted(self, messages: Sequence[Mapping[str, Any]], how: Rendering) -> tuple[Messages, Rendering, str]:
        """The first form of the messages that the template takes whole, and its text.

        Raises:
            PromptError: There is none.
        """
        self.template.require()
        self._check_roles(messages)
        found = self._first_form(messages, how)
        if not isinstance(found, PromptError):
            return found
        closed = replace(how, answering=True)  # which part of a conversation goes on is told at its end only
        for count in range(len(messages) - 1, 0, -1):
            if not isinstance(self._first_form(messages[:count], closed), PromptError):
                raise self._refused(messages, count, found.message) from found
        raise self._refused(messages, 0, found.message) from found

    def _first_form(
        self, messages: Sequence[Mapping[str, Any]], how: Rendering
    ) -> tuple[Messages, Rendering, str] | PromptError:
        """As `_fitted`; else why the template takes no form, in its own words for the messages as they are."""
        given, probe = [dict(message) for message in messages], _probe(messages)
        if not how.answering:
            given[-1]["content"] += _OPEN
        own = self.own_format if how.tools or _of_tools(given) else None
        shown = how if own else replace(how, tools=())
        tried, refusal = list[Messages](), None
        for form in forms(given, how.tools, own):
            plain = form(given)
            if plain in tried or not plain:
                continue
            tried.append(plain)
            try:
                text = self.template.text(plain, shown)
            except PromptError as error:
                refusal = refusal or error
                continue
            lost = self._lost(form(probe), shown, messages)
            if lost is None and (how.answering or _OPEN in text):
                return plain, shown, text
            refusal = refusal or lost
        return refusal or PromptError("it has no place for the end of the last message", hint="")

    def _lost(self, probe: Messages, how: Rendering, messages: Sequence[Mapping[str, Any]]) -> PromptError | None:
        """What is wrong where the template leaves a message's text out; None where all is there."""
        try:
            shown = self.template.text(probe, how).lower()
        except PromptError:  # it looks into contents, and took the real ones
            return None
        for place, message in enumerate(messages):
            if any(mark not in shown for mark in _marks(place, message)):
                said = f"the chat template of member {self._name} leaves out what {_named(messages, place)} says"
                return PromptError(said, hint="")
        return None

    def _refused(self, messages: Sequence[Mapping[str, Any]], place: int, why: str) -> PromptError:
        prefix = f"the chat template of member {self._name} refuses these messages: "
        try:
            self.template.text([{"role": "user", "content": "Hello."}], Rendering())
        except PromptError as error:
            return PromptError(
                f"the chat template of member {self._name} cannot be used: {error.message.removeprefix(prefix)}",
                hint="set tokenizer.chat_template, or choose another checkpoint",
            )
        return PromptError(
            f"the chat template of member {self._name} refuses {_named(messages, place)}, in every form that keeps its "
            f"meaning: {why.removeprefix(prefix)}",
            hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
        )

    def _check_roles(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for place, message in enumerate(messages):
            if not self.template.knows(message["role"]):
                raise PromptError(
                    f"{_named(messages, place)} has a role that the chat template of member {self._name} does not know",
                    hint=f"give one of {', '.join(ROLES)}; developer, human, ai, model and function are known too",
                )

    def _sanitised(self, plain: Messages, how: Rendering, text: str) -> Prompt:
        """A prompt in which special tokens spelled out in a message stay plain text."""
        if how.answering:
            return self._encoder.closed(self.template.sanitised(plain, how, begun=False))
        bare = [*plain[:-1], {**plain[-1], "content": ""}]
        head = self.template.text([*plain[:-1], {**plain[-1], "content": _OPEN}], how).partition(_OPEN)[0]
        said = text.partition(_OPEN)[0].removeprefix(head)
        return self._encoder.extended(self.template.sanitised(bare, how, begun=True), said)

    def _spells_special_tokens(self, conversation: Messages, how: Rendering) -> bool:
        spoken = [said for given in (*conversation, how.variables) for said in _strings(given)]
        return any(token in said for token in self._vocabulary.spellings.values() for said in spoken)


def _placed(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The messages as plain ones, which those of an ensemble's call are already."""
    return messages if all(isinstance(message, Placed) for message in messages) else conversation(messages)


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


def _of_tools(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(message.get("tool_calls") or message["role"] == "tool" for message in messages)


def _named(messages: Sequence[Mapping[str, Any]], place: int) -> str:
    """What errors call a message; its index is that in the caller's list."""
    return named(getattr(messages[place], "place", place), messages[place])


def _strings(given: Any) -> list[str]:
    """All that a message says, wherever it stands in it, but for its role."""
    if isinstance(given, Mapping):
        return [said for key, value in given.items() if key != "role" for said in _strings(value)]
    if isinstance(given, list | tuple):
        return [said for value in given for said in _strings(value)]
    return [str(given)]
