"""Conversations through a member's own chat template, tools and all."""

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

_PROBE = Tool("probe_tool", "Probe.", {"type": "object", "properties": {"probe": {"type": "string"}}})
_CALL = {"id": "probe0000", "type": "function", "function": {"name": _PROBE.name, "arguments": {"probe": "value"}}}
_THOUGHT = "<think>"  # what templates of reasoning models begin an answer with
_ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "probe0000", "name": _PROBE.name, "content": "probe_answer"},
]


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
        self._vocabulary, self._encoder = vocabulary, encoder
        self.template = ChatTemplate(name, tokenizer, self.spelled)
        self._fitting = Fitting(name, self.template, self._form)

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
            continue_final_message: Let the last message go on, in place of a new one.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """
        how = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _placed(messages)
        if before := self._before_what_goes_on(messages, how):
            if self.template.in_code or self._spells_special_tokens(messages, how):
                head = self.encode(before, tools, variables)
                return self._encoder.extended(list(head.ids), messages[-1]["content"])
            text = self.render(messages, tools, variables, continue_final_message=True)
            return self._encoder.continuable(self._encoder.encode_with_special(text), text, 0)
        plain, how, text = self._fitting.fitted(messages, how)
        if self.template.in_code:
            return self._encoder.fixed(self._encoder.readable(self.template.ids(plain, how)))
        if self._spells_special_tokens(plain, how):
            return self._sanitized(plain, how, text)
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
        how = Rendering(tools, variables or {}, answering=not continue_final_message)
        messages = _placed(messages)
        if before := self._before_what_goes_on(messages, how):
            return _begun(self.render(before, tools, variables), messages[-1]["content"])
        text = self._fitting.fitted(messages, how)[2]
        return text.partition(OPEN)[0] if continue_final_message else text

    def spelled(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens spelled out."""
        vocabulary = self._vocabulary
        parts = [vocabulary.surfaces[id_] or vocabulary.spellings.get(id_, "").encode() for id_ in ids]
        return b"".join(parts).decode(errors="replace")

    def _before_what_goes_on(
        self, messages: Sequence[Mapping[str, Any]], how: Rendering
    ) -> Sequence[Mapping[str, Any]]:
        """The messages before an assistant's that goes on behind the beginning of an answer to them, as plain text.

        So it does where the template has no place for it: those in code would trim it, others want the user last, trim
        it too, or take thoughts out of it.
        """
        *before, last = messages
        if how.answering:
            return ()
        if not before or last["role"] != "assistant":
            if self.template.in_code:
                raise self._fitting.refused(messages, len(before), "only an assistant's answer to a message goes on")
            return ()
        self.template.require()
        if self.template.in_code:
            return before
        found = self._fitting.first(messages, how)
        whole = not isinstance(found, PromptError) and found[2].partition(OPEN)[0].endswith(last["content"])
        return () if whole else before

    def _sanitized(self, plain: Messages, how: Rendering, text: str) -> Prompt:
        """A prompt in which special tokens spelled out in a message stay plain text."""
        if how.answering:
            return self._encoder.fixed(self._encoder.readable(self.template.sanitized(plain, how, begun=False)))
        bare = [*plain[:-1], {**plain[-1], "content": ""}]
        head = self.template.text([*plain[:-1], {**plain[-1], "content": OPEN}], how).partition(OPEN)[0]
        said = text.partition(OPEN)[0].removeprefix(head)
        ids = self._encoder.readable(self.template.sanitized(bare, how, begun=True))
        return self._encoder.extended(ids, said)

    def _spells_special_tokens(self, conversation: Sequence[Mapping[str, Any]], how: Rendering) -> bool:
        spoken = [said for given in (*conversation, how.variables) for said in _strings(given)]
        return any(token in said for token in self._vocabulary.spellings.values() for said in spoken)


def _begun(prompt: str, text: str) -> str:
    """A prompt with the beginning of its answer, where a thought that both begin is begun once."""
    opened = prompt.rstrip()
    return (opened.removesuffix(_THOUGHT) if text.startswith(_THOUGHT) and opened.endswith(_THOUGHT) else prompt) + text


def _placed(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The messages as plain ones, which those of an ensemble's call are already."""
    return messages if all(isinstance(message, IndexedMessage) for message in messages) else conversation(messages)


def _strings(given: Any) -> list[str]:
    """All that a message says, wherever it stands in it, but for its role."""
    if isinstance(given, Mapping):
        return [said for key, value in given.items() if key != "role" for said in _strings(value)]
    if isinstance(given, list | tuple):
        return [said for value in given for said in _strings(value)]
    return [str(given)]
