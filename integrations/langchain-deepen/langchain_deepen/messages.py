"""LangChain's messages in the form that the core takes, which knows the blocks of their contents."""

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
    """Messages as the core takes them, one for each.

    Raises:
        PromptError: A message is of a kind that has no role in a chat template.
    """
    return [_converted(place, message) for place, message in enumerate(messages)]


def _converted(place: int, message: BaseMessage) -> dict[str, Any]:
    made: dict[str, Any] = {"role": _role(place, message), "content": message.content}
    if message.name:
        made["name"] = message.name
    if isinstance(message, AIMessage):
        made |= _answered(message)
    if isinstance(message, ToolMessage):
        made["tool_call_id"] = message.tool_call_id
    return made


def _role(place: int, message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    role = next((role for kind, role in _ROLES.items() if isinstance(message, kind)), None)
    if role is None:
        raise PromptError(
            f"message {place} of type {type(message).__name__} has no role in a chat template",
            hint="give system, human, AI and tool messages; RemoveMessage is for the state of a graph",
        )
    return role


def _answered(message: AIMessage) -> dict[str, Any]:
    """What an AI message says beside its content."""
    given = message.additional_kwargs
    made: dict[str, Any] = {"tool_calls": [_call(call) for call in message.tool_calls]}
    invalid = [{**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls]
    known = {call.get("id") for call in _blocks(message.content)}
    if invalid := [call for call in invalid if call.get("id") is None or call["id"] not in known]:
        made["content"] = [*_blocks(message.content), *invalid]
    if not message.tool_calls and not message.invalid_tool_calls and given.get("function_call"):
        made["function_call"] = given["function_call"]
    if not message.content and isinstance(given.get("refusal"), str):
        made["content"] = given["refusal"]
    return made | {key: given[key] for key in ("reasoning_content", "prefix") if given.get(key)}


def _blocks(content: Any) -> list[Any]:
    told = content if isinstance(content, list) else [content] if content else []
    return [{"type": "text", "text": one} if isinstance(one, str) else one for one in told]


def _call(call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["args"]}
    return {"id": call["id"] or "", "type": "function", "function": function}
