"""Content blocks: what the parts of a message's content say, in the forms that providers and frameworks give them.

Known are OpenAI's parts and Responses items, Anthropic's blocks, Google's and Bedrock's parts, and LangChain's standard
blocks. Reasoning and hints to a provider are left out; what is not text is refused by its kind.

Long for its tables of kinds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepen_llm.errors import PromptError

_WRITTEN = ("text", "input_text", "output_text", "text-plain", "refusal")
_LEFT_OUT = (
    *("thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoningContent", "encrypted_reasoning"),
    *("cache_point", "cachePoint", "cache_control", "reference", "citation", "compaction", "container_upload"),
)
_CALLS = ("tool_use", "tool_call", "tool_call_chunk", "function_call", "custom_tool_call")
_CALLS_OF_PROVIDERS = (
    *("server_tool_use", "server_tool_call", "server_tool_call_chunk", "mcp_tool_use", "mcp_call"),
    *("web_search_call", "file_search_call", "code_interpreter_call"),
)
_RESULTS = ("server_tool_result", "function_call_output", "custom_tool_call_output")
_WRAPPED = {  # a part whose only key is its kind, and what that is elsewhere
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
_ENCRYPTED = ("encrypted_content", "encrypted_index", "encrypted_stdout", "signature", "cache_control")


@dataclass(frozen=True)
class Called:
    """A call of a tool, in OpenAI's form; its arguments may still be JSON."""

    call: Mapping[str, Any]


@dataclass(frozen=True)
class Answered:
    """What a tool answered.

    Attributes:
        call: The call's id.
        name: The tool; empty where the block does not say.
        text: The answer.
    """

    call: str
    name: str
    text: str


Piece = str | Called | Answered


def pieces(content: Any) -> Iterator[Piece]:
    """What a message's content says, in its order.

    Args:
        content: A text, a block, or a list of both.

    Raises:
        PromptError: A block is not text, or is of an unknown kind.
    """
    if content is None:
        return
    listed = content if isinstance(content, Sequence) and not isinstance(content, str | bytes) else [content]
    for block in listed:
        if isinstance(block, str):
            yield block
        elif isinstance(block, Mapping):
            yield from _pieces(block)
        else:
            raise _no_text(block)


def text_of(content: Any) -> str:
    """All of a content's text, which nothing but text may be.

    Raises:
        PromptError: Something is not text.
    """
    said = list(pieces(content))
    if other := next((piece for piece in said if not isinstance(piece, str)), None):
        raise _no_text(other)
    return "".join(str(piece) for piece in said)


def data_as_text(content: Any) -> Any:
    """A tool's answer with data as JSON; texts and blocks stay as they are."""
    listed = content if isinstance(content, list | tuple) else [content]
    blocks = all(isinstance(one, str) or (isinstance(one, Mapping) and _is_content(one)) for one in listed)
    return content if content is None or blocks else _json(content)


def _is_content(given: Mapping[str, Any]) -> bool:
    return _is_block(given) or any(isinstance(given.get(key), Mapping) for key in _WRAPPED)


def _pieces(block: Mapping[str, Any]) -> Iterator[Piece]:
    kind, inner = _kind(block)
    if kind in _LEFT_OUT or inner.get("thought") is True:
        return
    if kind in _CALLS or kind in _CALLS_OF_PROVIDERS:
        yield from _called(kind, inner)
    elif kind == "tool_result" or kind in _RESULTS or kind.endswith("_tool_result"):
        yield _answered(inner)
    elif kind in _TOLD:
        yield _TOLD[kind](inner)
    else:
        raise _no_text(block)


def _kind(block: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A block's kind, and where its fields are."""
    kind = block.get("type")
    if kind == "non_standard" and isinstance(block.get("value"), Mapping):  # LangChain's wrapping of a provider's own
        return _kind(block["value"])
    if isinstance(kind, str):
        return kind, block
    wrapped = next((key for key in _WRAPPED if isinstance(block.get(key), Mapping)), None)
    if wrapped is not None:
        return _WRAPPED[wrapped], block[wrapped]
    return "text", block


def _written(block: Mapping[str, Any]) -> str:
    said = block.get("text")
    said = block.get("refusal") if said is None else said
    if not isinstance(said, str):
        raise _no_text(block)
    return said


def _document(block: Mapping[str, Any]) -> str:
    """Anthropic's document, where its source is text."""
    source = block.get("source")
    if not isinstance(source, Mapping) or source.get("type") not in {"text", "content"}:
        raise _no_text(block)
    told = [block.get("title"), block.get("context"), text_of(source.get("data") or source.get("content"))]
    return "\n".join(part for part in told if part)


def _search_result(block: Mapping[str, Any]) -> str:
    return "\n".join(part for part in (block.get("title"), text_of(block.get("content"))) if part)


def _guarded(block: Mapping[str, Any]) -> str:
    return text_of(block.get("text"))


def _code(block: Mapping[str, Any]) -> str:
    code = block.get("code", block.get("executable_code"))
    if not isinstance(code, str):
        raise _no_text(block)
    language = block.get("language")
    return f"\n```{language.lower() if isinstance(language, str) else ''}\n{code}\n```\n"


def _output(block: Mapping[str, Any]) -> str:
    output = block.get("output", block.get("code_execution_result"))
    if not isinstance(output, str):
        raise _no_text(block)
    return f"\n```output\n{output}\n```\n"


def _invalid(block: Mapping[str, Any]) -> str:
    """A call that its model wrote wrongly: what was written."""
    return f"{block.get('name') or ''}({block.get('args') or ''})"


_TOLD: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(_WRITTEN, _written),
    "document": _document,
    "search_result": _search_result,
    "guard_content": _guarded,
    "executable_code": _code,
    "code_execution_result": _output,
    "invalid_tool_call": _invalid,
}


def _called(kind: str, block: Mapping[str, Any]) -> Iterator[Piece]:
    """A call; one that a provider answered itself may hold the answer too."""
    name = block.get("name") or (kind.removesuffix("_call") if kind in _CALLS_OF_PROVIDERS else None)
    id_ = _first(block, "call_id", "id", "toolUseId") or ""
    arguments = _first(block, "input", "args", "arguments", "action")
    if arguments is None:
        arguments = {key: block[key] for key in ("queries", "code") if block.get(key)}
    if kind == "custom_tool_call":
        arguments = {"input": arguments}
    yield Called({"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}})
    output = _first(block, "output", "outputs", "results") if kind in _CALLS_OF_PROVIDERS else None
    if output is not None:
        yield Answered(str(id_), str(name), _told(output))


def _answered(block: Mapping[str, Any]) -> Answered:
    id_ = _first(block, "tool_use_id", "tool_call_id", "call_id", "toolUseId", "id") or ""
    told = _told(_first(block, "content", "output", "response", "result"))
    return Answered(str(id_), str(block.get("name") or ""), told)


def _told(output: Any) -> str:
    """A tool's answer as text: as JSON where it is data."""
    if output is None or isinstance(output, str):
        return output or ""
    blocks = output if isinstance(output, list) else [output]
    if all(isinstance(one, str) or (isinstance(one, Mapping) and _is_block(one)) for one in blocks):
        return "".join(_json(one["json"]) if "json" in one else text_of([one]) for one in blocks)
    return _json(_open(output))


def _is_block(given: Mapping[str, Any]) -> bool:
    """Whether it is a content block, not data: one that is neither text nor data is refused later."""
    kind = given.get("type")
    data = isinstance(kind, str) and (kind.endswith(("_result", "_error")) and kind != "search_result")
    media = len(given) == 1 and any(isinstance(given.get(key), Mapping) for key in _MEDIA)
    return ("json" in given or "text" in given or isinstance(kind, str) or media) and not data and kind != "logs"


def _open(output: Any) -> Any:
    """Data without what only its provider can read."""
    if isinstance(output, Mapping):
        return {key: _open(value) for key, value in output.items() if key not in _ENCRYPTED}
    return [_open(one) for one in output] if isinstance(output, list) else output


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, default=str)


def _first(block: Mapping[str, Any], *keys: str) -> Any:
    return next((block[key] for key in keys if block.get(key) is not None), None)


def _no_text(given: Any) -> PromptError:
    kind = given.get("type") if isinstance(given, Mapping) else None
    named = f"a block of type {kind!r} ({given!r:.120})" if kind else f"{given!r:.120}"
    return PromptError(
        f"{named} is no text, and these models read nothing else",
        hint="give the content as a string, or as parts {'type': 'text', 'text': ...}",
    )
