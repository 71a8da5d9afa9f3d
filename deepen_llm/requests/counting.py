"""How many tokens the main model reads of a conversation, or of a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.members.base import Member, Message
from deepen_llm.members.text.encoding import TOKENIZER_LOCK
from deepen_llm.requests.prompts import Chatting, readable


def text_ids(member: Member, text: str) -> list[int]:
    """A member's tokens of a text, without special tokens around it."""
    tokenizer: Any = getattr(member, "tokenizer", None)
    if tokenizer is None:  # members of other kinds need not have one
        return list(member.encode_prompt(text).ids)
    with TOKENIZER_LOCK:
        return list(tokenizer.encode(text, add_special_tokens=False))


def conversation_tokens(member: Member, messages: Sequence[Message], how: Chatting) -> int:
    """How many tokens a conversation takes in a member, all that its template writes included.

    Where the template refuses the messages together, each counts for itself, and as its text alone where the template
    refuses that, too. A list that begins with an assistant's message takes a few tokens more where the template wants
    the user first.

    Args:
        member: The member that reads them.
        messages: The messages; none take no token.
        how: The tools, which count once, and the variables of the template.

    Raises:
        PromptError: A message says what is not text.
    """
    said = readable(messages)
    if not said:
        return 0
    try:
        return len(member.encode_chat(said, **how.arguments(member, said)).ids)
    except PromptError:
        if len(said) == 1:
            return len(text_ids(member, said[0]["content"]))
        alone = replace(how, toolbox=None)
        rest = [conversation_tokens(member, [message], alone) for message in said[1:]]
        return conversation_tokens(member, said[:1], how) + sum(rest)
