"""Converts LangChain's messages to those of `deepen_llm`, which reads the blocks of their contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from deepen_llm.errors import PromptError

_ROLES = {
    HumanMessage: "user",
    SystemMessage: "system",
    AIMessage: "assistant",
    ToolMessage: "tool",
    FunctionMessage: "function",
}


def conversation(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages in the form that `EnsembleLLM.chat` takes, one for each.

    Raises:
        PromptError: A message is of a kind that has no role in a chat template.
    """
    return [_converted(index, message) for index, message in enumerate(messages)]


def _converted(index: int, message: BaseMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": _role(index, message), "content": message.content}
    if message.name:
        converted["name"] = message.name
    if isinstance(message, AIMessage):
        converted |= _assistant_fields(message)
    if isinstance(message, ToolMessage):
        converted["tool_call_id"] = message.tool_call_id
    return converted


def _role(index: int, message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    role = next((role for kind, role in _ROLES.items() if isinstance(message, kind)), None)
    if role is None:
        raise PromptError(
            f"message {index} of type {type(message).__name__} has no role in a chat template",
            hint="give system, human, AI and tool messages; RemoveMessage is for the state of a graph",
        )
    return role


def _assistant_fields(message: AIMessage) -> dict[str, Any]:
    """The fields of an AI message beside its role and content."""
    given = message.additional_kwargs
    converted: dict[str, Any] = {"tool_calls": [_call(call) for call in message.tool_calls]}
    invalid = [{**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls]
    known = {call.get("id") for call in _blocks(message.content)}
    if invalid := [call for call in invalid if call.get("id") is None or call["id"] not in known]:
        converted["content"] = [*_blocks(message.content), *invalid]
    if not message.tool_calls and not message.invalid_tool_calls and given.get("function_call"):
        converted["function_call"] = given["function_call"]
    if not message.content and isinstance(given.get("refusal"), str):
        converted["content"] = given["refusal"]
    return converted | {key: given[key] for key in ("reasoning_content", "prefix") if given.get(key)}


def _blocks(content: Any) -> list[Any]:
    blocks = content if isinstance(content, list) else [content] if content else []
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]


def _call(call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["args"]}
    return {"id": call["id"] or "", "type": "function", "function": function}
