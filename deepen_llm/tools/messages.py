"""Normalization of messages to the form that chat templates expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.blocks import text_of
from deepen_llm.tools.calls import ToolCall

ROLES = ("system", "user", "assistant", "tool")
"""The supported roles."""

_SAME = {
    "developer": "system",
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "function": "tool",
    "ipython": "tool",
}
_OF_INTERFACES = (  # metadata of APIs, which no template reads
    *("type", "id", "status", "refusal", "function_call", "annotations", "audio", "example", "cache_control", "parts"),
    *("usage", "usage_metadata", "response_metadata", "additional_kwargs", "artifact", "stop_reason", "model"),
)


def normalized(message: Mapping[str, Any]) -> dict[str, Any]:
    """Normalize a message: content as text, arguments of tool calls as mappings.

    Args:
        message: ``role`` and ``content``, which may be a list of text parts; ``tool_calls`` as `ToolCall`
            or in the form of an API, with arguments as JSON or as a mapping.

    Raises:
        PromptError: The message is invalid.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise PromptError(
            f"expected a message, got {message!r:.120}", hint="give messages as {'role': ..., 'content': ...}"
        )
    calls = message.get("tool_calls")
    if message.get("content") is None and not calls:
        raise PromptError(
            f"expected a message with content or tool calls, got {message!r:.120}",
            hint="give messages as {'role': ..., 'content': ...}",
        )
    kept = {key: value for key, value in message.items() if key not in _OF_INTERFACES and value is not None}
    plain = {**kept, "role": plain_role(message["role"]), "content": text_of(message.get("content"))}
    if calls:
        plain["tool_calls"] = [normalized_call(call) for call in calls]
    else:
        plain.pop("tool_calls", None)
    return plain


def plain_role(role: str) -> str:
    """Map a role to its name in chat templates."""
    return _SAME.get(role, role)


def called_of(message: Mapping[str, Any]) -> Sequence[Any]:
    """List the calls in a message's fields: ``tool_calls``, or OpenAI's former ``function_call``."""
    calls = message.get("tool_calls")
    if calls is not None and (isinstance(calls, str | Mapping) or not isinstance(calls, Sequence)):
        raise PromptError(f"expected a list of tool calls, got {calls!r:.120}", hint="give a list of tool calls")
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, Mapping):
        return [{"id": "", "type": "function", "function": legacy}]
    return calls or ()


def normalized_call(call: Any) -> dict[str, Any]:
    """Normalize a call to OpenAI's form, with its arguments as a mapping.

    Raises:
        PromptError: The call is invalid, or its arguments are no JSON object.
    """
    if isinstance(call, ToolCall):
        return _described(call.name, call.arguments, call.id)
    inner = call.get("function", call.get("name") and call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise PromptError(
            f"expected a tool call, got {call!r:.120}",
            hint="give {'id': ..., 'function': {'name': ..., 'arguments': {...}}}",
        )
    arguments = inner.get("arguments") or inner.get("args") or {}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise PromptError(
            f"expected JSON as the arguments of the tool call {inner['name']!r}: {error}", hint="give a JSON object"
        ) from error
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"expected an object as the arguments of the tool call {inner['name']!r}, got {arguments!r:.80}",
            hint="give a JSON object",
        )
    return _described(inner["name"], arguments, str(call.get("id") or ""))


def _described(name: str, arguments: Mapping[str, Any], id_: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
