"""Messages as callers write them, in the one form that chat templates take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.blocks import text_of
from deepen_llm.tools.calls import ToolCall

ROLES = ("system", "user", "assistant", "tool")
"""The roles that every member takes, if need be in another form."""

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
_OF_INTERFACES = (  # what an interface says about a message, and no template reads
    *("type", "id", "status", "refusal", "function_call", "annotations", "audio", "example", "cache_control", "parts"),
    *("usage", "usage_metadata", "response_metadata", "additional_kwargs", "artifact", "stop_reason", "model"),
)


def normalised(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its content as text, and the arguments of its tool calls as a mapping.

    Args:
        message: ``role`` and ``content``, which may be a list of text parts; ``tool_calls`` as `ToolCall`
            or as the APIs have them, with arguments as JSON or as a mapping.

    Raises:
        PromptError: It is no message.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise PromptError(f"{message!r:.120} is no message", hint="give messages as {'role': ..., 'content': ...}")
    calls = message.get("tool_calls")
    if message.get("content") is None and not calls:
        raise PromptError(f"{message!r:.120} says nothing", hint="give messages as {'role': ..., 'content': ...}")
    kept = {key: value for key, value in message.items() if key not in _OF_INTERFACES and value is not None}
    made = {**kept, "role": plain_role(message["role"]), "content": text_of(message.get("content"))}
    if calls:
        made["tool_calls"] = [normalised_call(call) for call in calls]
    else:
        made.pop("tool_calls", None)
    return made


def plain_role(role: str) -> str:
    """A role by the name that chat templates give it."""
    return _SAME.get(role, role)


def called_of(message: Mapping[str, Any]) -> Sequence[Any]:
    """The calls that a message's fields hold: ``tool_calls``, or ``function_call`` as OpenAI had it first."""
    calls = message.get("tool_calls")
    if calls is not None and (isinstance(calls, str | Mapping) or not isinstance(calls, Sequence)):
        raise PromptError(f"tool_calls={calls!r:.120} is no list", hint="give a list of tool calls")
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, Mapping):
        return [{"id": "", "type": "function", "function": legacy}]
    return calls or ()


def normalised_call(call: Any) -> dict[str, Any]:
    """A call in OpenAI's form, its arguments as a mapping.

    Raises:
        PromptError: It is no call, or its arguments are no JSON object.
    """
    if isinstance(call, ToolCall):
        return _described(call.name, call.arguments, call.id)
    inner = call.get("function", call.get("name") and call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise PromptError(
            f"{call!r:.120} is no tool call", hint="give {'id': ..., 'function': {'name': ..., 'arguments': {...}}}"
        )
    arguments = inner.get("arguments") or inner.get("args") or {}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise PromptError(
            f"the arguments of the tool call {inner['name']!r} are no JSON: {error}", hint="give a JSON object"
        ) from error
    if not isinstance(arguments, Mapping):
        raise PromptError(f"the arguments of the tool call {inner['name']!r} are no object", hint="give a JSON object")
    return _described(inner["name"], arguments, str(call.get("id") or ""))


def _described(name: str, arguments: Mapping[str, Any], id_: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
