"""Counts the tokens of texts and conversations in one member's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.members.base import Member, Message
from deepen_llm.members.text.encoding import TOKENIZER_LOCK
from deepen_llm.requests.prompts import TemplateOptions, readable


def text_ids(member: Member, text: str) -> list[int]:
    """A member's token ids of a text, without special tokens before and after it."""
    tokenizer: Any = getattr(member, "tokenizer", None)
    if tokenizer is None:  # a member need not have a transformers tokenizer
        return list(member.encode_prompt(text).ids)
    with TOKENIZER_LOCK:
        return list(tokenizer.encode(text, add_special_tokens=False))


def conversation_tokens(member: Member, messages: Sequence[Message], template: TemplateOptions) -> int:
    """Count a conversation's tokens as a member's chat template renders it.

    Where the template refuses the list of messages, each message is counted on its own, and as plain text where the
    template refuses it too. A list that begins with an assistant's message takes a few tokens more where the template
    requires a user's message first.

    Args:
        member: The member that reads them.
        messages: The messages; an empty list has 0 tokens.
        template: Tools, which are counted once, and variables of the template.

    Raises:
        PromptError: A message has content that is not text.
    """
    normalized = readable(messages)
    if not normalized:
        return 0
    try:
        return len(member.encode_chat(normalized, **template.arguments(member, normalized)).ids)
    except PromptError:
        if len(normalized) == 1:
            return len(text_ids(member, normalized[0]["content"]))
        without_tools = replace(template, toolbox=None)
        rest = [conversation_tokens(member, [message], without_tools) for message in normalized[1:]]
        return conversation_tokens(member, normalized[:1], template) + sum(rest)
