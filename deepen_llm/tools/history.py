"""Conversion of chat histories of any provider to messages for chat templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.blocks import CallBlock, Piece, ResultBlock, data_as_text, pieces
from deepen_llm.tools.messages import called_of, normalized, normalized_call, plain_role

Message = dict[str, Any]


class IndexedMessage(dict[str, Any]):
    """A message with its index in the caller's list.

    Args:
        message: The message, `normalized`.
        index: The index.
    """

    def __init__(self, message: Mapping[str, Any], index: int) -> None:
        super().__init__(message)
        self.index = index


def conversation(messages: Sequence[Any]) -> list[IndexedMessage]:
    """Convert a history to messages with text, tool calls and results in the fields that templates expect.

    Args:
        messages: The caller's messages; one with several blocks may become several.

    Raises:
        PromptError: A message is invalid, or has content other than text; the error names its index.
    """
    if not isinstance(messages, Iterable):
        raise PromptError(
            f"{messages!r:.200} is no conversation", hint="give a list like [{'role': 'user', 'content': 'Hello'}]"
        )
    converted: list[IndexedMessage] = []
    for index, message in enumerate(messages):
        with _naming(index, message):
            _extend(converted, message, index)
    _pair(converted)
    return converted


@contextmanager
def _naming(index: int, message: Any) -> Iterator[None]:
    """Prefix errors with the name of the message."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{named(index, message)}: {error.message}", hint=error.hint) from error


def named(index: int, message: Any) -> str:
    """Name a message in errors: its index in the caller's list, from 0, and its role."""
    role = message.get("role") if isinstance(message, Mapping) else None
    return f"message {index} (role {role!r})" if role is not None else f"message {index}"


def _extend(converted: list[IndexedMessage], message: Any, index: int) -> None:
    if isinstance(message, Mapping) and message.get("role") is None and isinstance(message.get("type"), str):
        _extend_by_item(converted, message, index)
    else:
        converted += [IndexedMessage(normalized(part), index) for part in _parted(message)]


def _extend_by_item(converted: list[IndexedMessage], item: Mapping[str, Any], index: int) -> None:
    """Append an item of OpenAI's Responses API that is no message; its calls join the assistant message before it."""
    content_pieces = list(pieces([item]))
    for part in _in_turn({"role": "assistant"}, content_pieces) if content_pieces else ():
        message, before = IndexedMessage(normalized(part), index), converted[-1] if converted else None
        if message["role"] == "assistant" and before is not None and before["role"] == "assistant":
            before["content"] += message["content"]
            if calls := [*before.get("tool_calls", ()), *message.get("tool_calls", ())]:
                before["tool_calls"] = calls
        else:
            converted.append(message)


def _parted(message: Any) -> list[Message]:
    """Split a message into one per role of its parts."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        return [message]  # for which `normalized` raises
    role, content = plain_role(message["role"]), message.get("content", message.get("parts"))
    if content is None and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    fields = {**message, "tool_calls": None}
    calls = [normalized_call(call) for call in called_of(message)]
    if content is None:
        return [{**fields, "content": None, "tool_calls": calls}]
    content_pieces = list(pieces(data_as_text(content) if role == "tool" else content))
    if role == "assistant":
        return _in_turn(fields, content_pieces, calls)
    if calls or any(isinstance(piece, CallBlock) for piece in content_pieces):
        raise PromptError("expected tool calls in an assistant's message only", hint="give it the role 'assistant'")
    if role == "tool":
        return [_result_of(fields, content_pieces)]
    return _after_results(fields, content_pieces)


def _after_results(fields: Message, content_pieces: Sequence[Piece]) -> list[Message]:
    """Split a user's message into tool results, as Anthropic and Google place them there, and text."""
    results = [piece for piece in content_pieces if isinstance(piece, ResultBlock)]
    texts = [piece for piece in content_pieces if isinstance(piece, str)]
    converted = [_result(result) for result in results]
    if texts or not results:
        converted.append({**fields, "content": "".join(texts)})
    return converted


def _result_of(fields: Message, content_pieces: Sequence[Piece]) -> Message:
    """Make a tool's message; its blocks may have the id of the call."""
    texts = [piece.text if isinstance(piece, ResultBlock) else str(piece) for piece in content_pieces]
    result = next((piece for piece in content_pieces if isinstance(piece, ResultBlock)), None)
    identity = {"tool_call_id": result.call, "name": result.name or None} if result else {}
    return {**identity, **{key: value for key, value in fields.items() if value is not None}, "content": "".join(texts)}


def _result(result: ResultBlock) -> Message:
    return {"role": "tool", "tool_call_id": result.call, "name": result.name or None, "content": result.text}


def _in_turn(fields: Message, content_pieces: Sequence[Piece], calls: Sequence[Message] = ()) -> list[Message]:
    """Split an assistant's message at tool results inside it."""
    known, turns = list(calls), list[Message]()
    texts, new_calls = list[str](), list[Message]()
    for piece in content_pieces:
        if isinstance(piece, ResultBlock):
            turns += [{**fields, "content": "".join(texts), "tool_calls": new_calls}] if texts or new_calls else []
            turns.append(_result(piece))
            texts, new_calls = [], []
        elif isinstance(piece, CallBlock):
            if (call := normalized_call(piece.call)) and not _among(call, known):
                new_calls.append(call)
        else:
            texts.append(piece)
    if texts or new_calls or calls or not turns:
        turns.append({**fields, "content": "".join(texts), "tool_calls": [*calls, *new_calls]})
    return turns


def _among(call: Message, known: Sequence[Message]) -> bool:
    """Whether a call of the content is also in the message's ``tool_calls``."""
    return any(
        call["id"] == other["id"]
        if call["id"] and other["id"]
        else call["function"]["name"] == other["function"]["name"]
        for other in known
    )


def _pair(converted: Sequence[Message]) -> None:
    """Add missing ids to calls and results, and the names of tools to results."""
    waiting: list[Message] = []
    numbers = iter(f"call{number:05d}" for number in range(100_000))
    for message in converted:
        for call in message.get("tool_calls", ()):
            call["id"] = call["id"] or next(numbers)
            waiting.append(call)
        if message["role"] == "tool":
            call_of = _answered_by(message, waiting)
            if call_of is not None:
                message["tool_call_id"] = call_of["id"]
                message["name"] = message.get("name") or call_of["function"]["name"]
                waiting.remove(call_of)


def _answered_by(result: Message, waiting: Sequence[Message]) -> Message | None:
    """Find the call of a result: by its id, else by its tool's name, else the first one."""
    candidates: Iterator[Message] = iter(waiting)
    if id_ := result.get("tool_call_id"):
        candidates = (call for call in waiting if call["id"] == id_)
    elif name := result.get("name"):
        candidates = (call for call in waiting if call["function"]["name"] == name)
    return next(candidates, None)
