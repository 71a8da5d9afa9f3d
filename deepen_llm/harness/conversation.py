"""Represents conversations as strings, which the harness handles.

The harness handles prompts as strings, but each member has a chat template of its own. So the harness gets the messages
as JSON behind a mark, and each member's template is applied when the member's prompt is encoded. What the harness
appends to the string follows the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.members.base import Message
from deepen_llm.members.local.member import LocalMember
from deepen_llm.requests.prompts import TemplateOptions, readable

_MARK = "<|deepen-conversation|>"


@dataclass(frozen=True)
class Conversation:
    """Messages for each member's own chat template.

    Attributes:
        messages: The messages.
        answering: Whether a new answer of the assistant begins; else the last message is continued.
        variables: Template variables for members that do not set them.
    """

    messages: Sequence[Message]
    answering: bool
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The string that `parted` parses."""
        return _MARK + json.dumps(asdict(self), ensure_ascii=False)


def parted(string: str) -> tuple[Conversation | None, str]:
    """Split a string into a conversation and the text that follows it; for plain text the conversation is None.

    >>> parted(str(Conversation([{"role": "user", "content": "Hello"}], True)) + " there")[1]
    ' there'
    >>> parted("plain")
    (None, 'plain')
    """
    if not string.startswith(_MARK):
        return None, string
    fields, end = json.JSONDecoder().raw_decode(string, len(_MARK))
    return Conversation(**fields), string[end:]


def as_read(member: LocalMember, string: str) -> str:
    """The text that one member reads of a string: a conversation is rendered with the member's template.

    Raises:
        PromptError: The member has no chat template, or its template refuses the messages.
    """
    conversation, rest = parted(string)
    if conversation is None:
        return string
    if not member.tokenizer.chat_template:
        raise PromptError(
            f"member {member.name} has no chat template",
            hint="evaluate without --apply_chat_template, or choose an instruction-tuned checkpoint",
        )
    messages = readable(conversation.messages)
    template = TemplateOptions(defaults=conversation.variables, continue_final_message=not conversation.answering)
    return member.render(messages, **template.arguments(member, messages)) + rest
