"""Messages as callers write them, in the one form that chat templates take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.calls import ToolCall


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
    made = {**message, "content": _text(message.get("content"))}
    if calls:
        made["tool_calls"] = [_call(call) for call in calls]
    else:
        made.pop("tool_calls", None)
    return made


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, Sequence) else [content]
    texts = [part.get("text") if _is_text(part) else part for part in parts]
    said = [text for text in texts if isinstance(text, str)]
    if len(said) < len(texts):
        raise PromptError(
            f"{content!r:.120} is no text, and these models read nothing else",
            hint="give the content as a string, or as parts {'type': 'text', 'text': ...}",
        )
    return "".join(said)


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type", "text") == "text"


def _call(call: Any) -> dict[str, Any]:
    if isinstance(call, ToolCall):
        return _described(call.name, call.arguments, call.id)
    inner = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise PromptError(
            f"{call!r:.120} is no tool call", hint="give {'id': ..., 'function': {'name': ..., 'arguments': {...}}}"
        )
    arguments = inner.get("arguments") or {}
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
