"""LlamaIndex's messages in the form that the ensemble takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from deepen_llm.errors import PromptError
from deepen_llm.tools.messages import normalised

_ROLES = {
    MessageRole.DEVELOPER: "system",
    MessageRole.FUNCTION: "tool",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
_READ = (TextBlock, ToolCallBlock)
_PASSED_OVER = (CachePoint, ThinkingBlock)  # a hint for hosted models; reasoning, which no later turn reads


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as the ensemble takes them.

    Args:
        messages: The messages; tool messages name their call as ``additional_kwargs["tool_call_id"]``.

    Raises:
        PromptError: A message has a block that is no text, or a tool call that is none.
    """
    called: dict[str, str] = {}
    made = []
    for message in messages:
        plain = normalised(_plain(message))
        called |= {call["id"]: call["function"]["name"] for call in plain.get("tool_calls", ())}
        if plain["role"] == "tool":  # LlamaIndex leaves the tool's name out, and some templates want it
            plain.setdefault("name", called.get(plain.get("tool_call_id", ""), ""))
        made.append(plain)
    return made


def _plain(message: ChatMessage) -> dict[str, Any]:
    given = message.additional_kwargs
    made: dict[str, Any] = {"role": _ROLES.get(message.role, message.role.value), "content": _text(message)}
    if calls := tool_calls(message):
        made["tool_calls"] = calls
    if made["role"] == "tool":
        made |= {key: given[key] for key in ("tool_call_id", "name") if given.get(key)}
    return made


def _text(message: ChatMessage) -> str:
    for block in message.blocks:
        if not isinstance(block, (*_READ, *_PASSED_OVER)):
            raise PromptError(
                f"a message with a {block.block_type} block, and these models read nothing but text",
                hint="give the content as a string, or as TextBlocks",
            )
    return message.content or ""


def tool_calls(message: ChatMessage) -> list[dict[str, Any]]:
    """The calls that a message asks for, in the form of OpenAI's interface."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not blocks:
        return list(message.additional_kwargs.get("tool_calls") or ())
    return [
        {
            "id": block.tool_call_id or "",
            "type": "function",
            "function": {"name": block.tool_name, "arguments": block.tool_kwargs},
        }
        for block in blocks
    ]
