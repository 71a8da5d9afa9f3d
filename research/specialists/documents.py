"""Training texts, and their construction from messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

Messages = list[dict[str, Any]]
"""A conversation, as chat templates take it."""


@dataclass(frozen=True)
class Document:
    """A training text.

    Args:
        text: The text; special tokens are spelled out in a chat and absent from plain text.
        answers: The spans of answers, including the text that ends them.
        chat: Whether the text is a chat, or plain text that the tokenizer begins and training ends.
        cut: The position after a prompt that ends with a space, from which the text is encoded separately; 0 for none.
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
    """Make a document of messages, with the assistant's texts as answers.

    Args:
        tokenizer: The tokenizer with the chat template.
        messages: The conversation.
        offered: The definitions of the tools.
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
