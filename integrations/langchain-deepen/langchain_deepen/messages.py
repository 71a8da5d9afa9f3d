"""LangChain's messages in the form that the core takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from deepen_llm.errors import PromptError

_ROLES = {HumanMessage: "user", SystemMessage: "system", AIMessage: "assistant", ToolMessage: "tool"}
_SAID_ELSEWHERE = {"tool_use", "tool_call", "tool_call_chunk", "reasoning", "thinking"}  # blocks of an AI message


def conversation(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages as the core takes them.

    Raises:
        PromptError: A message is of a kind that has no role in a chat template.
    """
    names = {call["id"]: call["name"] for one in messages if isinstance(one, AIMessage) for call in one.tool_calls}
    return [_converted(message, names) for message in messages]


def _converted(message: BaseMessage, names: dict[str | None, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"role": _role(message), "content": message.content}
    if message.name:
        made["name"] = message.name
    if isinstance(message, AIMessage):
        made["content"] = _spoken(message.content)
        made["tool_calls"] = [_call(call) for call in message.tool_calls]
        if reasoning := message.additional_kwargs.get("reasoning_content"):
            made["reasoning_content"] = reasoning
    if isinstance(message, ToolMessage):
        made["tool_call_id"] = message.tool_call_id
        if message.tool_call_id in names:
            made.setdefault("name", names[message.tool_call_id])
    return made


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    role = next((role for kind, role in _ROLES.items() if isinstance(message, kind)), None)
    if role is None:
        raise PromptError(
            f"a message of type {type(message).__name__} has no role in a chat template",
            hint="give system, human, AI and tool messages",
        )
    return role


def _spoken(content: Any) -> Any:
    """An AI message's text; its calls and its reasoning are told beside it."""
    if isinstance(content, str):
        return content
    return [block for block in content if isinstance(block, str) or block.get("type") not in _SAID_ELSEWHERE]


def _call(call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["args"]}
    return {"id": call["id"] or "", "type": "function", "function": function}
