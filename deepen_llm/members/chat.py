"""Conversations through a member's own chat template, tools and all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.members.encoding import TOKENIZER_LOCK, Prompt, TextEncoder, is_mistral_common
from deepen_llm.members.transformers_api import takes
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import HERMES, KNOWN, ToolFormat
from deepen_llm.tools.words import in_words, speaks_of_tools
from deepen_llm.vocabulary import Vocabulary

_PROBE = Tool("probe_tool", "Probe.", {"type": "object", "properties": {"probe": {"type": "string"}}})
_CALL = {"id": "probe0000", "type": "function", "function": {"name": _PROBE.name, "arguments": {"probe": "value"}}}
_ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "probe0000", "name": _PROBE.name, "content": "probe_answer"},
]


class ChatEncoder:
    """Encodes conversations for one member.

    Args:
        name: What messages call the member.
        tokenizer: Its tokenizer.
        vocabulary: Its vocabulary.
        encoder: Encodes its text.
    """

    def __init__(
        self, name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, encoder: TextEncoder
    ) -> None:
        self._name, self._tokenizer, self._vocabulary, self._encoder = name, tokenizer, vocabulary, encoder

    @cached_property
    def own_format(self) -> ToolFormat | None:
        """How the template writes tool calls; None where it knows no tools, or writes calls in no known way."""
        try:
            shown = self.spelled(self._ids(_ASKED, [_PROBE]))
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

    def encode(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> Prompt:
        """Encode a conversation, ready for the assistant's answer.

        Args:
            messages: The messages, `normalised`.
            tools: The tools that the assistant may call.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """
        plain, tools = self._in_own_terms(messages, tools)
        if is_mistral_common(self._tokenizer):  # which has its templates in code, and never renders them to text
            return self._encoder.closed(self._encoder.readable(self._rendered(plain, tools, tokenize=True)))
        text = self._rendered(plain, tools, tokenize=False)
        if self._spells_special_tokens(plain):
            return self._encoder.closed(self._sanitised(plain, tools))
        return self._encoder.resumable(self._encoder.recognising(text), text, 0)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> str:
        """The text of a conversation as the member reads it, special tokens spelled out; see `encode`."""
        plain, tools = self._in_own_terms(messages, tools)
        if is_mistral_common(self._tokenizer):
            return self.spelled(self._rendered(plain, tools, tokenize=True))
        return str(self._rendered(plain, tools, tokenize=False))

    def spelled(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens spelled out."""
        vocabulary = self._vocabulary
        parts = [vocabulary.surfaces[id_] or vocabulary.spellings.get(id_, "").encode() for id_ in ids]
        return b"".join(parts).decode(errors="replace")

    def _in_own_terms(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]
    ) -> tuple[list[dict[str, Any]], Sequence[Tool]]:
        """Messages that the template understands, and the tools that it is to tell of."""
        if not is_mistral_common(self._tokenizer) and not self._tokenizer.chat_template:
            raise PromptError(
                f"member {self._name} has no chat template",
                hint="choose an instruction-tuned checkpoint, set tokenizer.chat_template, or use generate()",
            )
        if (tools or speaks_of_tools(messages)) and self.own_format is None:
            return in_words(messages, tools), ()
        return [dict(message) for message in messages], tools

    def _ids(self, conversation: list[dict[str, Any]], tools: Sequence[Tool]) -> list[int]:
        if is_mistral_common(self._tokenizer):
            return list(self._rendered(conversation, tools, tokenize=True))
        if not self._tokenizer.chat_template:
            return []
        return self._encoder.recognising(self._rendered(conversation, tools, tokenize=False))

    def _rendered(self, conversation: list[dict[str, Any]], tools: Sequence[Tool], **options: Any) -> Any:
        try:
            return self._render(conversation, tools, **options)
        except Exception as error:  # templates are programs of the checkpoint's, and raise what they like
            raise PromptError(
                f"the chat template of member {self._name} refuses these messages: {error}",
                hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
            ) from error

    def _render(self, conversation: list[dict[str, Any]], tools: Sequence[Tool], **options: Any) -> Any:
        if tools:
            options["tools"] = [tool.definition() for tool in tools]
        with TOKENIZER_LOCK:
            return self._tokenizer.apply_chat_template(
                conversation, add_generation_prompt=True, return_dict=False, **options
            )

    def _sanitised(self, conversation: list[dict[str, Any]], tools: Sequence[Tool]) -> list[int]:
        """Ids of a conversation in which special tokens spelled out in a message stay plain text."""
        try:
            if not takes(self._tokenizer.apply_chat_template, "sanitize_control_tokens"):
                raise ValueError("this version of transformers obeys them")
            return self._encoder.readable(
                self._render(conversation, tools, tokenize=True, sanitize_control_tokens=True)
            )
        except ValueError as error:
            raise PromptError(
                f"a message spells out a special token of member {self._name}, and it cannot stay plain text: {error}",
                hint="remove the special token from the message, or upgrade transformers",
            ) from error

    def _spells_special_tokens(self, conversation: list[dict[str, Any]]) -> bool:
        spoken = [said for message in conversation for said in _strings(message)]
        return any(token in said for token in self._vocabulary.spellings.values() for said in spoken)


def _strings(given: Any) -> list[str]:
    """All that a message says, wherever it stands in it, but for its role."""
    if isinstance(given, Mapping):
        return [said for key, value in given.items() if key != "role" for said in _strings(value)]
    if isinstance(given, list | tuple):
        return [said for value in given for said in _strings(value)]
    return [str(given)]
