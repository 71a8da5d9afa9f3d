"""Kinds of content blocks, by the names that providers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WRITTEN = ("text", "input_text", "output_text", "text-plain", "refusal")
LEFT_OUT = (
    *("thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoningContent", "encrypted_reasoning"),
    *("cache_point", "cachePoint", "cache_control", "reference", "citation", "compaction", "container_upload"),
)
CALLS = ("tool_use", "tool_call", "tool_call_chunk", "function_call", "custom_tool_call")
CALLS_OF_PROVIDERS = (
    *("server_tool_use", "server_tool_call", "server_tool_call_chunk", "mcp_tool_use", "mcp_call"),
    *("web_search_call", "file_search_call", "code_interpreter_call"),
)
RESULTS = ("server_tool_result", "function_call_output", "custom_tool_call_output")
_WRAPPED = {  # the kind of a part whose only key is its kind, by that key
    "functionCall": "tool_call",
    "function_call": "tool_call",
    "functionResponse": "tool_result",
    "function_response": "tool_result",
    "toolUse": "tool_use",
    "toolResult": "tool_result",
    "executableCode": "executable_code",
    "executable_code": "executable_code",
    "codeExecutionResult": "code_execution_result",
    "code_execution_result": "code_execution_result",
    "guardContent": "guard_content",
    "reasoningContent": "reasoning",
    "cachePoint": "cache_point",
}
_MEDIA = ("inlineData", "inline_data", "fileData", "file_data", "image", "audio", "video", "document")


def kind_of(block: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Find the kind of a block, and the mapping that has its fields."""
    kind = block.get("type")
    if kind == "non_standard" and isinstance(block.get("value"), Mapping):  # LangChain's wrapper of provider blocks
        return kind_of(block["value"])
    if isinstance(kind, str):
        return kind, block
    wrapped = next((key for key in _WRAPPED if isinstance(block.get(key), Mapping)), None)
    if wrapped is not None:
        return _WRAPPED[wrapped], block[wrapped]
    return "text", block


def is_block(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is a content block, of any kind, and not data."""
    kind = value.get("type")
    data = isinstance(kind, str) and (kind.endswith(("_result", "_error")) and kind != "search_result")
    media = len(value) == 1 and any(isinstance(value.get(key), Mapping) for key in _MEDIA)
    return ("json" in value or "text" in value or isinstance(kind, str) or media) and not data and kind != "logs"


def is_content(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is a content block, or a part whose only key is its kind."""
    return is_block(value) or any(isinstance(value.get(key), Mapping) for key in _WRAPPED)
