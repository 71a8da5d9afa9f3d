"""Texts to learn from, and how messages become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

Messages = list[dict[str, Any]]
"""A conversation, as chat templates take it."""


@dataclass(frozen=True)
class Document:
    """One text to learn from.

    Args:
        text: The text; special tokens are spelled out in a chat and absent from plain text.
        answers: Where answers are, from the first character to the last of what ends them.
        chat: Whether the text is a chat, or plain text that the tokenizer begins and training ends.
        cut: Where a prompt ends with a space, which is encoded apart from what follows; 0 for nowhere.
    """

    text: str
    answers: tuple[tuple[int, int], ...]
    chat: bool
    cut: int = 0


def turn(question: str, answer: str) -> Messages:
    """A question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def written(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, offered: list[dict[str, Any]] | None = None
) -> Document:
    """The chat that messages make, with all that the assistant says for answers.

    Args:
        tokenizer: Whose chat template.
        messages: The conversation.
        offered: The definitions of the tools at hand.
    """
    spans = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(_render(tokenizer, messages[:place], offered, ask=True))
            spans.append((start, len(_render(tokenizer, messages[: place + 1], offered, ask=False))))
    return Document(_render(tokenizer, messages, offered, ask=False), tuple(spans), chat=True)


def _render(
    tokenizer: PreTrainedTokenizerFast,
    messages: Messages,
    offered: list[dict[str, Any]] | None,
    *,
    ask: bool,
) -> str:
    return str(tokenizer.apply_chat_template(messages, tools=offered, tokenize=False, add_generation_prompt=ask))
