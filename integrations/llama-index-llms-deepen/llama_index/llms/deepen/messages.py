"""LlamaIndex's messages in the form that the ensemble takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from deepen_llm.errors import PromptError

_PASSED_OVER = (CachePoint, ThinkingBlock)  # a hint for hosted models; reasoning, which no later turn reads
_FIELDS = ("tool_call_id", "name", "function_call", "prefix", "reasoning_content", "refusal")


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as the ensemble takes them, one for each.

    Args:
        messages: The messages; tool messages name their call as ``additional_kwargs["tool_call_id"]``.

    Raises:
        PromptError: A message has a block that is no text.
    """
    return [_plain(place, message) for place, message in enumerate(messages)]


def _plain(place: int, message: ChatMessage) -> dict[str, Any]:
    given, role = message.additional_kwargs, message.role.value
    texts = [text for block in message.blocks for text in _texts(place, role, block)]
    made: dict[str, Any] = {"role": role, "content": "\n".join(texts)}
    if calls := tool_calls(message):
        made["tool_calls"] = calls
    made |= {key: given[key] for key in _FIELDS if given.get(key)}
    if not texts and isinstance(made.get("refusal"), str):
        made["content"] = made["refusal"]
    return made


def _texts(place: int, role: str, block: Any) -> Iterator[str]:
    if isinstance(block, TextBlock):
        yield block.text
    elif isinstance(block, CitableBlock):
        for inner in block.content:
            yield from _texts(place, role, inner)
    elif isinstance(block, CitationBlock):
        yield from _texts(place, role, block.cited_content)
    elif not isinstance(block, (ToolCallBlock, *_PASSED_OVER)):
        kind = getattr(block, "block_type", type(block).__name__)
        raise PromptError(
            f"message {place} (role {role!r}) has a {kind} block, and these models read nothing but text",
            hint="give the content as a string, or as TextBlocks",
        )


def tool_calls(message: ChatMessage) -> list[dict[str, Any]]:
    """The calls that a message asks for, in the form of OpenAI's interface."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not blocks:
        return [_as_mapping(call) for call in message.additional_kwargs.get("tool_calls") or ()]
    return [
        {
            "id": block.tool_call_id or "",
            "type": "function",
            "function": {"name": block.tool_name, "arguments": block.tool_kwargs},
        }
        for block in blocks
    ]


def _as_mapping(call: Any) -> dict[str, Any]:
    """A call, which OpenAI's package has as an object; it needs no id."""
    told = call.model_dump() if hasattr(call, "model_dump") else call
    return {**told, "id": told.get("id") or ""}
