"""Conversations, with tools, encoded through a member's own chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.members.text.encoding import Prompt, TextEncoder
from deepen_llm.members.text.fitting import OPEN, Fitting
from deepen_llm.members.text.forms import Messages
from deepen_llm.members.text.template import ChatTemplate, Rendering
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import HERMES, KNOWN, ToolFormat
from deepen_llm.tools.history import IndexedMessage, conversation
from deepen_llm.vocabulary import Vocabulary

_PROBE_TOOL = Tool("probe_tool", "Probe.", {"type": "object", "properties": {"probe": {"type": "string"}}})
_PROBE_CALL = {
    "id": "probe0000",
    "type": "function",
    "function": {"name": _PROBE_TOOL.name, "arguments": {"probe": "value"}},
}
_THOUGHT = "<think>"  # templates of reasoning models begin an answer with it
_PROBE_CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]},
    {"role": "tool", "tool_call_id": "probe0000", "name": _PROBE_TOOL.name, "content": "probe_answer"},
]


class ChatEncoder:
    """Encodes conversations for one member.

    A conversation that the template refuses, or writes without some of its text, is brought into the first of the
    `forms` that the template writes in full.

    Args:
        name: The member's name, for errors.
        tokenizer: Its tokenizer.
        vocabulary: Its vocabulary.
        encoder: Encodes its text.
    """

    def __init__(
        self, name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, encoder: TextEncoder
    ) -> None:
        self._vocabulary, self._encoder = vocabulary, encoder
        self.template = ChatTemplate(name, tokenizer, self.spelled)
        self._fitting = Fitting(name, self.template, self._form)

    @cached_property
    def own_format(self) -> ToolFormat | None:
        """The format in which the template writes tool calls; None where it writes no tools, or has no known format."""
        try:
            self.template.require()
            shown = self.template.text(_PROBE_CONVERSATION, Rendering([_PROBE_TOOL]))
        except PromptError:
            return None
        shown = re.sub(r"\[CALL_ID\]\w+", "", shown)
        if "probe_answer" not in shown or "Probe." not in shown:
            return None
        return next((form for form in KNOWN if form.opening + form.head(_PROBE_TOOL.name) in shown), None)

    def _form(self) -> ToolFormat | None:
        return self.own_format

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
            continue_final_message: Continue the last message, in place of beginning a new one.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """
        rendering = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _normalized(messages)
        if before := self._before_unfinished_answer(messages, rendering):
            if self.template.in_code or self._spells_special_tokens(messages, rendering):
                head = self.encode(before, tools, variables)
                return self._encoder.extended(list(head.ids), messages[-1]["content"])
            text = self.render(messages, tools, variables, continue_final_message=True)
            return self._encoder.continuable(self._encoder.encode_with_special(text), text, 0)
        form, rendering, text = self._fitting.fitted(messages, rendering)
        if self.template.in_code:
            return self._encoder.fixed(self._encoder.readable(self.template.ids(form, rendering)))
        if self._spells_special_tokens(form, rendering):
            return self._sanitized(form, rendering, text)
        text = text.partition(OPEN)[0] if continue_final_message else text
        return self._encoder.continuable(self._encoder.encode_with_special(text), text, 0)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        variables: Mapping[str, Any] | None = None,
        *,
        continue_final_message: bool = False,
    ) -> str:
        """The text of a conversation as the member reads it, special tokens spelled out; see `encode`."""
        rendering = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _normalized(messages)
        if before := self._before_unfinished_answer(messages, rendering):
            return _with_answer(self.render(before, tools, variables), messages[-1]["content"])
        text = self._fitting.fitted(messages, rendering)[2]
        return text.partition(OPEN)[0] if continue_final_message else text

    def spelled(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens spelled out."""
        vocabulary = self._vocabulary
        parts = [vocabulary.surfaces[id_] or vocabulary.spellings.get(id_, "").encode() for id_ in ids]
        return b"".join(parts).decode(errors="replace")

    def _before_unfinished_answer(
        self, messages: Sequence[Mapping[str, Any]], rendering: Rendering
    ) -> Sequence[Mapping[str, Any]]:
        """The messages before the assistant's last one, where it is appended to their prompt as plain text.

        This is done where the template cannot write an unfinished last message unchanged: templates in code trim it;
        others demand a user's message as the last, trim it, or remove reasoning. Elsewhere the result is empty.
        """
        *before, last = messages
        if rendering.answering:
            return ()
        if not before or last["role"] != "assistant":
            if self.template.in_code:
                raise self._fitting.refused(
                    messages, len(before), "only an assistant's answer to a message can be continued"
                )
            return ()
        self.template.require()
        if self.template.in_code:
            return before
        fitted = self._fitting.first(messages, rendering)
        unchanged = not isinstance(fitted, PromptError) and fitted[2].partition(OPEN)[0].endswith(last["content"])
        return () if unchanged else before

    def _sanitized(self, form: Messages, rendering: Rendering, text: str) -> Prompt:
        """A prompt in which special tokens spelled out in a message stay plain text."""
        if rendering.answering:
            ids = self.template.sanitized(form, rendering, continue_final_message=False)
            return self._encoder.fixed(self._encoder.readable(ids))
        *before, last = form
        head = self.template.text([*before, {**last, "content": OPEN}], rendering).partition(OPEN)[0]
        content = text.partition(OPEN)[0].removeprefix(head)
        ids = self.template.sanitized([*before, {**last, "content": ""}], rendering, continue_final_message=True)
        return self._encoder.extended(self._encoder.readable(ids), content)

    def _spells_special_tokens(self, messages: Sequence[Mapping[str, Any]], rendering: Rendering) -> bool:
        strings = [text for value in (*messages, rendering.variables) for text in _strings(value)]
        return any(token in text for token in self._vocabulary.spellings.values() for text in strings)


def _with_answer(prompt: str, answer: str) -> str:
    """A prompt with the beginning of its answer; where both have ``<think>`` at the joint, the prompt's is removed."""
    opened = prompt.rstrip()
    if answer.startswith(_THOUGHT) and opened.endswith(_THOUGHT):
        return opened.removesuffix(_THOUGHT) + answer
    return prompt + answer


def _normalized(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The messages as `conversation` makes them; those of an ensemble's call have been through it."""
    return messages if all(isinstance(message, IndexedMessage) for message in messages) else conversation(messages)


def _strings(value: Any) -> list[str]:
    """All strings in a message or variable at any depth, without roles."""
    if isinstance(value, Mapping):
        return [text for key, item in value.items() if key != "role" for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return [str(value)]
