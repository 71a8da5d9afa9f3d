"""Conversations as strings of the harness.

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
from deepen_llm.requests.prompts import Chatting, readable

_MARK = "<|deepen-conversation|>"


@dataclass(frozen=True)
class Conversation:
    """Messages for each member's own chat template.

    Attributes:
        messages: The messages.
        answering: Whether the assistant's answer is to begin; else the last message goes on.
        variables: Variables that hold for every member's template that sets none itself.
    """

    messages: Sequence[Message]
    answering: bool
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The string that `parted` parses."""
        return _MARK + json.dumps(asdict(self), ensure_ascii=False)


def parted(string: str) -> tuple[Conversation | None, str]:
    """A conversation and what follows it; plain text is no conversation.

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
    """A string of the harness as one member reads it: a conversation is rendered with the member's template.

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
    how = Chatting(defaults=conversation.variables, continue_final_message=not conversation.answering)
    return member.render(messages, **how.arguments(member, messages)) + rest
