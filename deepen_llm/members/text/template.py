"""A member's chat template: what it writes, and what it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.members.text.encoding import TOKENIZER_LOCK, is_mistral_common
from deepen_llm.members.transformers_api import takes
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.messages import ROLES

_PROBE = "probe0text"
_FIELDS = ("role", "content", "tool_calls", "tool_call_id", "name")  # that mistral-common takes


@dataclass(frozen=True)
class Rendering:
    """How a template is called, beside the messages.

    Attributes:
        tools: The tools that it is to tell of.
        variables: Variables that it may read.
        answering: Whether the assistant's answer is begun behind the messages.
    """

    tools: Sequence[Tool] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    answering: bool = True


class ChatTemplate:
    """Renders conversations for one member.

    Args:
        name: What messages call the member.
        tokenizer: Its tokenizer.
        spelled: Token ids as text, special tokens spelled out.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, spelled: Callable[[Sequence[int]], str]) -> None:
        self._name, self._tokenizer, self._spelled = name, tokenizer, spelled
        self.in_code = is_mistral_common(tokenizer)  # which never renders its templates to text

    def require(self) -> None:
        """Find that there is a template.

        Raises:
            PromptError: There is none.
        """
        if not self.in_code and not self._tokenizer.chat_template:
            raise PromptError(
                f"member {self._name} has no chat template",
                hint="choose an instruction-tuned checkpoint, set tokenizer.chat_template, or use generate()",
            )

    def text(self, conversation: Sequence[Mapping[str, Any]], how: Rendering) -> str:
        """The text of a conversation, special tokens spelled out.

        Raises:
            PromptError: The template refuses it.
        """
        rendered = self._rendered(conversation, how, tokenize=self.in_code)
        return self._spelled(rendered) if self.in_code else str(rendered)

    def ids(self, conversation: Sequence[Mapping[str, Any]], how: Rendering) -> list[int]:
        """The token ids of a conversation whose template is in code.

        Raises:
            PromptError: The template refuses it.
        """
        return list(self._rendered(conversation, how, tokenize=True))

    def sanitized(self, conversation: Sequence[Mapping[str, Any]], how: Rendering, *, begun: bool) -> list[int]:
        """Ids of a conversation in which special tokens spelled out in a message stay plain text.

        Args:
            conversation: The conversation.
            how: How the template is called.
            begun: Whether the last message, which is empty, stays open.
        """
        try:
            if not takes(self._tokenizer.apply_chat_template, "sanitize_control_tokens"):
                raise ValueError("this version of transformers obeys them")
            options = {"tokenize": True, "sanitize_control_tokens": True, "continue_final_message": begun}
            return list(self._called(self._as_read(conversation), how, **options))
        except Exception as error:  # see `_rendered`
            raise PromptError(
                f"a message spells out a special token of member {self._name}, and it cannot stay plain text: {error}",
                hint="remove the special token from the message, or upgrade transformers",
            ) from error

    def knows(self, role: str) -> bool:
        """Whether the template treats a role by its name; the common ones are brought into a form that it takes."""
        return role in ROLES or (not self.in_code and bool(re.search(rf"(['\"]){re.escape(role)}\1", self._source)))

    def reads(self, variable: str) -> bool:
        """Whether the template has a variable of this name."""
        if self.in_code:
            return takes(self._tokenizer.apply_chat_template, variable)
        return bool(re.search(rf"\b{re.escape(variable)}\b", self._source))

    @property
    def _source(self) -> str:
        """The template, or all of several."""
        named = _by_name(self._tokenizer.chat_template)
        return "\n".join(named.values()) if isinstance(named, Mapping) else str(named or "")

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether it reads contents as lists of parts, as templates of models that see pictures do, and no strings."""
        if self.in_code:
            return False
        shown = []
        for content in (_PROBE, [{"type": "text", "text": _PROBE}]):
            try:
                written = self._called([{"role": "user", "content": content}], Rendering(), tokenize=False)
            except Exception:  # as in `_rendered`; the messages themselves will tell
                written = ""
            shown.append(_PROBE in written)
        return shown == [False, True]

    def _rendered(self, conversation: Sequence[Mapping[str, Any]], how: Rendering, **options: Any) -> Any:
        try:
            return self._called(self._as_read(conversation), how, **options)
        except Exception as error:  # templates are programs of the checkpoint's, and raise what they like
            raise PromptError(
                f"the chat template of member {self._name} refuses these messages: {error}",
                hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
            ) from error

    def _as_read(self, conversation: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The messages with the fields, and with contents of the kind, that the template reads."""
        if self.in_code:
            known = [{key: message[key] for key in _FIELDS if key in message} for message in conversation]
            return [{key: v for key, v in one.items() if key != "name" or one["role"] == "tool"} for one in known]
        if self._wants_parts:
            return [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in conversation]
        return [dict(message) for message in conversation]

    def _called(self, conversation: Sequence[Mapping[str, Any]], how: Rendering, **options: Any) -> Any:
        options |= {name: value for name, value in how.variables.items() if self.reads(name)}
        if how.tools:
            options["tools"] = [tool.definition() for tool in how.tools]
        named = None if self.in_code else _by_name(self._tokenizer.chat_template)
        if isinstance(named, Mapping) and not isinstance(self._tokenizer.chat_template, Mapping):
            options["chat_template"] = named.get("tool_use" if how.tools else "default", named.get("default"))
        with TOKENIZER_LOCK:
            return self._tokenizer.apply_chat_template(
                [*conversation], add_generation_prompt=how.answering, return_dict=False, **options
            )


def _by_name(template: Any) -> Any:
    """Several templates as a mapping, which older files have as a list of names and templates."""
    if isinstance(template, list | tuple):
        return {one["name"]: one["template"] for one in template}
    return template
