"""Conversations on their way through the harness, which hands strings about.

Each member has a chat template of its own, so none can be applied before it is known who reads. What the harness gets
in a template's place is the messages themselves, as JSON behind a mark; what it appends stays apart behind them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jinja2 import TemplateError

from deepen_llm.errors import PromptError
from deepen_llm.members.base import Message
from deepen_llm.members.local import LocalMember

_MARK = "<|deepen-conversation|>"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversation:
    """Messages for each member's own chat template.

    Attributes:
        messages: The messages.
        answering: Whether the assistant's answer is to begin; else the last message goes on.
    """

    messages: Sequence[Message]
    answering: bool

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
    try:
        return _templated(member, conversation.messages, conversation.answering) + behind
    except TemplateError:
        _LOG.warning("the template of member %s refuses these messages; it reads no system message", member.name)
    told = [message for message in conversation.messages if message["role"] != "system"]
    try:
        return _templated(member, told, conversation.answering) + behind
    except TemplateError as error:
        raise PromptError(
            f"the chat template of member {member.name} refuses these messages: {error}",
            hint="evaluate without --fewshot_as_multiturn or without --apply_chat_template",
        ) from error


def _templated(member: LocalMember, messages: Sequence[Message], answering: bool) -> str:
    return str(
        member.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=answering,
            continue_final_message=not answering,
        )
    )
