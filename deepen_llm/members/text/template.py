"""A member's chat template: the texts that it renders, and the roles and variables that it reads."""

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
        tools: The tools that it describes to the model.
        variables: Variables that it may read.
        answering: Whether it begins the assistant's answer after the messages.
    """

    tools: Sequence[Tool] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    answering: bool = True


class ChatTemplate:
    """Renders conversations for one member.

    Args:
        name: The member's name, for errors.
        tokenizer: Its tokenizer.
        spelled: Returns token ids as text, special tokens spelled out.

    Attributes:
        in_code: Whether the template is mistral-common's code, which gives token ids and no text.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, spelled: Callable[[Sequence[int]], str]) -> None:
        self._name, self._tokenizer, self._spelled = name, tokenizer, spelled
        self.in_code = is_mistral_common(tokenizer)

    def require(self) -> None:
        """Check that there is a template.

        Raises:
            PromptError: There is none.
        """
        if not self.in_code and not self._tokenizer.chat_template:
            raise PromptError(
                f"member {self._name} has no chat template",
                hint="choose an instruction-tuned checkpoint, set tokenizer.chat_template, or use generate()",
            )

    def text(self, conversation: Sequence[Mapping[str, Any]], rendering: Rendering) -> str:
        """The text of a conversation, special tokens spelled out.

        Raises:
            PromptError: The template refuses it.
        """
        rendered = self._rendered(conversation, rendering, tokenize=self.in_code)
        return self._spelled(rendered) if self.in_code else str(rendered)

    def ids(self, conversation: Sequence[Mapping[str, Any]], rendering: Rendering) -> list[int]:
        """The token ids of a conversation whose template is in code.

        Raises:
            PromptError: The template refuses it.
        """
        return list(self._rendered(conversation, rendering, tokenize=True))

    def sanitized(
        self, conversation: Sequence[Mapping[str, Any]], rendering: Rendering, *, continue_final_message: bool
    ) -> list[int]:
        """Ids of a conversation in which special tokens spelled out in a message stay plain text.

        Args:
            conversation: The conversation.
            rendering: How the template is called.
            continue_final_message: Whether the last message, which is empty, is to be continued.

        Raises:
            PromptError: The template refuses it, or this version of transformers cannot do it.
        """
        try:
            if not takes(self._tokenizer.apply_chat_template, "sanitize_control_tokens"):
                raise ValueError("this version of transformers encodes it as a special token")
            options = {
                "tokenize": True,
                "sanitize_control_tokens": True,
                "continue_final_message": continue_final_message,
            }
            return list(self._called(self._as_read(conversation), rendering, **options))
        except Exception as error:  # see `_rendered`
            raise PromptError(
                f"a message spells out a special token of member {self._name}, and it cannot stay plain text: {error}",
                hint="remove the special token from the message, or upgrade transformers",
            ) from error

    def knows(self, role: str) -> bool:
        """Whether messages may have a role: one of `ROLES`, which have `forms`, or one that the template names."""
        return role in ROLES or (not self.in_code and bool(re.search(rf"(['\"]){re.escape(role)}\1", self._source)))

    def reads(self, variable: str) -> bool:
        """Whether the template has a variable of this name."""
        if self.in_code:
            return takes(self._tokenizer.apply_chat_template, variable)
        return bool(re.search(rf"\b{re.escape(variable)}\b", self._source))

    @property
    def _source(self) -> str:
        """The template's text; several templates are joined."""
        named = _by_name(self._tokenizer.chat_template)
        return "\n".join(named.values()) if isinstance(named, Mapping) else str(named or "")

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether it reads contents as lists of parts only, and not as strings, as templates of vision models do."""
        if self.in_code:
            return False
        is_written = []
        for content in (_PROBE, [{"type": "text", "text": _PROBE}]):
            try:
                written = self._called([{"role": "user", "content": content}], Rendering(), tokenize=False)
            except Exception:  # as in `_rendered`; rendering the real messages raises it again
                written = ""
            is_written.append(_PROBE in written)
        return is_written == [False, True]

    def _rendered(self, conversation: Sequence[Mapping[str, Any]], rendering: Rendering, **options: Any) -> Any:
        try:
            return self._called(self._as_read(conversation), rendering, **options)
        except Exception as error:  # a template is a program from the checkpoint and may raise anything
            raise PromptError(
                f"the chat template of member {self._name} refuses these messages: {error}",
                hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
            ) from error

    def _as_read(self, conversation: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The messages with the fields, and with contents of the kind, that the template reads."""
        if self.in_code:
            known = [{key: message[key] for key in _FIELDS if key in message} for message in conversation]
            return [
                {key: value for key, value in message.items() if key != "name" or message["role"] == "tool"}
                for message in known
            ]
        if self._wants_parts:
            return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in conversation]
        return [dict(message) for message in conversation]

    def _called(self, conversation: Sequence[Mapping[str, Any]], rendering: Rendering, **options: Any) -> Any:
        options |= {name: value for name, value in rendering.variables.items() if self.reads(name)}
        if rendering.tools:
            options["tools"] = [tool.definition() for tool in rendering.tools]
        named = None if self.in_code else _by_name(self._tokenizer.chat_template)
        if isinstance(named, Mapping) and not isinstance(self._tokenizer.chat_template, Mapping):
            options["chat_template"] = named.get("tool_use" if rendering.tools else "default", named.get("default"))
        with TOKENIZER_LOCK:
            return self._tokenizer.apply_chat_template(
                [*conversation], add_generation_prompt=rendering.answering, return_dict=False, **options
            )


def _by_name(template: Any) -> Any:
    """The templates by name where there are several, also from older files' lists of names and templates."""
    if isinstance(template, list | tuple):
        return {named["name"]: named["template"] for named in template}
    return template
