"""Conversations on their way through the harness, which hands strings about.

Each member has a chat template of its own, so none can be applied before it is known who reads. What the harness gets
in a template's place is the messages themselves, as JSON behind a mark; what it appends stays apart behind them.
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
        """The string that `parted` takes apart again."""
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
    held, end = json.JSONDecoder().raw_decode(string, len(_MARK))
    return Conversation(**held), string[end:]


def as_read(member: LocalMember, string: str) -> str:
    """A string of the harness's as one member reads it: a conversation goes through its own template.

    Raises:
        PromptError: The member has no chat template, or its template refuses the messages.
    """
    conversation, behind = parted(string)
    if conversation is None:
        return string
    if not member.tokenizer.chat_template:
        raise PromptError(
            f"member {member.name} has no chat template",
            hint="evaluate without --apply_chat_template, or choose an instruction-tuned checkpoint",
        )
    said = readable(conversation.messages)
    how = Chatting(defaults=conversation.variables, continue_final_message=not conversation.answering)
    return member.render(said, **how.arguments(member, said)) + behind
