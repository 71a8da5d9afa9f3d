"""Content blocks of messages, converted to text, tool calls and tool results.

Supported are OpenAI's parts and Responses items, Anthropic's blocks, Google's and Bedrock's parts, and LangChain's
standard blocks. Reasoning and hints to a provider are left out; any other block that is no text is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.block_kinds import (
    CALLS,
    CALLS_OF_PROVIDERS,
    LEFT_OUT,
    RESULTS,
    WRITTEN,
    is_block,
    is_content,
    kind_of,
)

_ENCRYPTED = ("encrypted_content", "encrypted_index", "encrypted_stdout", "signature", "cache_control")


@dataclass(frozen=True)
class CallBlock:
    """A tool call in OpenAI's form; its arguments may be a JSON string."""

    call: Mapping[str, Any]


@dataclass(frozen=True)
class ResultBlock:
    """The result of a tool call.

    Attributes:
        call: The id of the call.
        name: The tool; empty if the block does not name it.
        text: The result.
    """

    call: str
    name: str
    text: str


Piece = str | CallBlock | ResultBlock


def pieces(content: Any) -> Iterator[Piece]:
    """Convert a message's content to pieces, in its order.

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
    """Join the text of a content that holds only text.

    Raises:
        PromptError: The content holds anything else.
    """
    converted = list(pieces(content))
    if other := next((piece for piece in converted if not isinstance(piece, str)), None):
        raise _no_text(other)
    return "".join(str(piece) for piece in converted)


def data_as_text(content: Any) -> Any:
    """Convert a tool's result to JSON if it is data; keep texts and blocks."""
    listed = content if isinstance(content, list | tuple) else [content]
    blocks = all(isinstance(item, str) or (isinstance(item, Mapping) and is_content(item)) for item in listed)
    return content if content is None or blocks else _json(content)


def _pieces(block: Mapping[str, Any]) -> Iterator[Piece]:
    kind, inner = kind_of(block)
    if kind in LEFT_OUT or inner.get("thought") is True:
        return
    if kind in CALLS or kind in CALLS_OF_PROVIDERS:
        yield from _called(kind, inner)
    elif kind == "tool_result" or kind in RESULTS or kind.endswith("_tool_result"):
        yield _answered(inner)
    elif kind in _TEXT_OF_KIND:
        yield _TEXT_OF_KIND[kind](inner)
    else:
        raise _no_text(block)


def _text_at(block: Mapping[str, Any], *keys: str) -> str:
    """Look up a text under the first of some keys that has a value."""
    text = _first(block, *keys)
    if not isinstance(text, str):
        raise _no_text(block)
    return text


def _written(block: Mapping[str, Any]) -> str:
    return _text_at(block, "text", "refusal")


def _document(block: Mapping[str, Any]) -> str:
    """Format Anthropic's document, whose source must be text."""
    source = block.get("source")
    if not isinstance(source, Mapping) or source.get("type") not in {"text", "content"}:
        raise _no_text(block)
    parts = [block.get("title"), block.get("context"), text_of(source.get("data") or source.get("content"))]
    return "\n".join(part for part in parts if part)


def _search_result(block: Mapping[str, Any]) -> str:
    return "\n".join(part for part in (block.get("title"), text_of(block.get("content"))) if part)


def _guarded(block: Mapping[str, Any]) -> str:
    return text_of(block.get("text"))


def _code(block: Mapping[str, Any]) -> str:
    code, language = _text_at(block, "code", "executable_code"), block.get("language")
    return f"\n```{language.lower() if isinstance(language, str) else ''}\n{code}\n```\n"


def _output(block: Mapping[str, Any]) -> str:
    return f"\n```output\n{_text_at(block, 'output', 'code_execution_result')}\n```\n"


def _invalid(block: Mapping[str, Any]) -> str:
    """Format an invalid call as its model wrote it."""
    return f"{block.get('name') or ''}({block.get('args') or ''})"


_TEXT_OF_KIND: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(WRITTEN, _written),
    "document": _document,
    "search_result": _search_result,
    "guard_content": _guarded,
    "executable_code": _code,
    "code_execution_result": _output,
    "invalid_tool_call": _invalid,
}


def _called(kind: str, block: Mapping[str, Any]) -> Iterator[Piece]:
    """Yield a call, and its result if the provider ran the call."""
    name = block.get("name") or (kind.removesuffix("_call") if kind in CALLS_OF_PROVIDERS else None)
    id_ = _first(block, "call_id", "id", "toolUseId") or ""
    arguments = _first(block, "input", "args", "arguments", "action")
    if arguments is None:
        arguments = {key: block[key] for key in ("queries", "code") if block.get(key)}
    if kind == "custom_tool_call":
        arguments = {"input": arguments}
    yield CallBlock({"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}})
    output = _first(block, "output", "outputs", "results") if kind in CALLS_OF_PROVIDERS else None
    if output is not None:
        yield ResultBlock(str(id_), str(name), _result_text(output))


def _answered(block: Mapping[str, Any]) -> ResultBlock:
    id_ = _first(block, "tool_use_id", "tool_call_id", "call_id", "toolUseId", "id") or ""
    text = _result_text(_first(block, "content", "output", "response", "result"))
    return ResultBlock(str(id_), str(block.get("name") or ""), text)


def _result_text(output: Any) -> str:
    """Convert a tool's result to text; data become JSON."""
    if output is None or isinstance(output, str):
        return output or ""
    blocks = output if isinstance(output, list) else [output]
    if all(isinstance(block, str) or (isinstance(block, Mapping) and is_block(block)) for block in blocks):
        return "".join(_json(block["json"]) if "json" in block else text_of([block]) for block in blocks)
    return _json(_without_encrypted(output))


def _without_encrypted(output: Any) -> Any:
    """Remove encrypted fields from data."""
    if isinstance(output, Mapping):
        return {key: _without_encrypted(value) for key, value in output.items() if key not in _ENCRYPTED}
    return [_without_encrypted(item) for item in output] if isinstance(output, list) else output


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, default=str)


def _first(block: Mapping[str, Any], *keys: str) -> Any:
    return next((block[key] for key in keys if block.get(key) is not None), None)


def _no_text(value: Any) -> PromptError:
    kind = value.get("type") if isinstance(value, Mapping) else None
    named = f"a block of type {kind!r} ({value!r:.120})" if kind else f"{value!r:.120}"
    return PromptError(
        f"expected text, the only content that these models support, got {named}",
        hint="give the content as a string, or as parts {'type': 'text', 'text': ...}",
    )
