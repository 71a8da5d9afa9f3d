"""Converts LlamaIndex's messages to those of `deepen_llm`."""

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

_IGNORED = (CachePoint, ThinkingBlock)  # a hint for hosted models; reasoning, which no later turn reads
_FIELDS = ("tool_call_id", "name", "function_call", "prefix", "reasoning_content", "refusal")


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages in the form that `EnsembleLLM.chat` takes, one for each.

    Args:
        messages: The messages; tool messages have the id of their call in ``additional_kwargs["tool_call_id"]``.

    Raises:
        PromptError: A message has a block that is not text.
    """
    return [_converted(index, message) for index, message in enumerate(messages)]


def _converted(index: int, message: ChatMessage) -> dict[str, Any]:
    given, role = message.additional_kwargs, message.role.value
    texts = [text for block in message.blocks for text in _texts(index, role, block)]
    converted: dict[str, Any] = {"role": role, "content": "\n".join(texts)}
    if calls := tool_calls(message):
        converted["tool_calls"] = calls
    converted |= {key: given[key] for key in _FIELDS if given.get(key)}
    if not texts and isinstance(converted.get("refusal"), str):
        converted["content"] = converted["refusal"]
    return converted


def _texts(index: int, role: str, block: Any) -> Iterator[str]:
    if isinstance(block, TextBlock):
        yield block.text
    elif isinstance(block, CitableBlock):
        for inner in block.content:
            yield from _texts(index, role, inner)
    elif isinstance(block, CitationBlock):
        yield from _texts(index, role, block.cited_content)
    elif not isinstance(block, (ToolCallBlock, *_IGNORED)):
        kind = getattr(block, "block_type", type(block).__name__)
        raise PromptError(
            f"message {index} (role {role!r}) has a {kind} block, but these models read text only",
            hint="give the content as a string, or as TextBlocks",
        )


def tool_calls(message: ChatMessage) -> list[dict[str, Any]]:
    """The tool calls of a message, in the form of OpenAI's API."""
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
    """A call as a mapping with an id; OpenAI's package represents calls as objects."""
    fields = call.model_dump() if hasattr(call, "model_dump") else call
    return {**fields, "id": fields.get("id") or ""}
