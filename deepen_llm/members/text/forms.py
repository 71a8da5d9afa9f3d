"""Equivalent forms of a conversation, from the caller's to the strictest.

A chat template refuses conversations of a kind that its model was not trained on: with a system message, with one that
is not the first, with two messages of a role in succession, with several calls in a message, with ids of another
length. Each form here avoids some of these, and keeps the order of all texts.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.plain_text import in_words, speaks_of_tools

Messages = list[dict[str, Any]]
Form = Callable[[Messages], Messages]
_LETTERS = string.ascii_letters + string.digits
_ID = re.compile(r"[a-zA-Z0-9]{9}\Z")


def forms(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], own: ToolFormat | None) -> Iterator[Form]:
    """The forms to try, in this order.

    Args:
        messages: The conversation, `normalized`.
        tools: The tools that the assistant may call.
        own: The format in which the template writes calls; None where it does not write tools, so that a message
            describes them.
    """
    for of_tools in _forms_of_tools(messages, tools, own):
        for of_turns in _FORMS_OF_TURNS:
            yield lambda messages, first=of_tools, then=of_turns: then(first(messages))  # type: ignore[misc]


def _forms_of_tools(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], own: ToolFormat | None
) -> Sequence[Form]:
    if own is None:
        needs_words = tools or speaks_of_tools(messages)
        return [lambda messages: in_words(messages, tools)] if needs_words else [_unchanged]
    if not speaks_of_tools(messages):
        return [_unchanged]
    return [_unchanged, short_ids, single_calls, calls_apart, lambda messages: in_words(messages, (), own)]


def _unchanged(messages: Messages) -> Messages:
    return messages


def short_ids(messages: Messages) -> Messages:
    """Ids of calls as Mistral's templates demand them: nine letters and digits."""
    form = []
    for message in messages:
        changed = dict(message)
        if calls := message.get("tool_calls"):
            changed["tool_calls"] = [{**call, "id": _short(call["id"])} for call in calls]
        if message.get("tool_call_id"):
            changed["tool_call_id"] = _short(message["tool_call_id"])
        form.append(changed)
    return form


def _short(id_: str) -> str:
    if _ID.match(id_):
        return id_
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in hashlib.blake2b(id_.encode(), digest_size=9).digest())


def single_calls(messages: Messages) -> Messages:
    """One call in a message, each followed by its result, as Llama's templates demand; ids as in `short_ids`."""
    form, rest = Messages(), short_ids(messages)
    while rest:
        message, rest = rest[0], rest[1:]
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            form.append(message)
            continue
        count = next((i for i, following in enumerate(rest) if following["role"] != "tool"), len(rest))
        results, rest = rest[:count], rest[count:]
        for i, call in enumerate(calls):
            form.append({**message, "tool_calls": [call], **({"content": ""} if i else {})})
            form += [result for result in results if result.get("tool_call_id") == call["id"]]
        known = {call["id"] for call in calls}
        form += [result for result in results if result.get("tool_call_id") not in known]
    return form


def calls_apart(messages: Messages) -> Messages:
    """As `single_calls`, with text and calls in separate messages: many templates write the calls alone."""
    form = Messages()
    for message in single_calls(messages):
        if message.get("tool_calls") and message["content"]:
            form.append({key: value for key, value in message.items() if key != "tool_calls"})
            message = {**message, "content": ""}
        form.append(message)
    return form


def one_system(messages: Messages) -> Messages:
    """One system message, the first; later ones become part of a user's message, as in `system_as_user`."""
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    head = [{**messages[0], "content": _joined(messages[:count])}] if count else []
    return head + system_as_user(messages[count:])


def system_as_user(messages: Messages) -> Messages:
    """No system message: its text is part of the user's message after it, else of the one before it."""
    form, follows_system = Messages(), False
    for message in messages:
        is_system = message["role"] == "system"
        as_user = {**message, "role": "user"} if is_system else message
        if form and form[-1]["role"] == as_user["role"] == "user" and (follows_system or is_system):
            as_user = _merged(form.pop(), as_user)
        form.append(as_user)
        follows_system = is_system
    return form


def in_turns(messages: Messages) -> Messages:
    """User and assistant in turns, the user first: successive messages of one role become one message.

    Where the assistant's message is the first, an empty user's message is put before it.
    """
    form = Messages()
    for message in messages:
        if form and _may_merge(form[-1], message):
            message = _merged(form.pop(), message)
        elif message["role"] == "assistant" and all(before["role"] == "system" for before in form):
            form.append({"role": "user", "content": ""})
        form.append(message)
    return form


def _may_merge(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return before["role"] == after["role"] and before["role"] in {"user", "assistant"} and not before.get("tool_calls")


def without_empty(messages: Messages) -> Messages:
    """No message without text and calls."""
    return [message for message in messages if message["content"].strip() or message.get("tool_calls")]


def _strictest(messages: Messages) -> Messages:
    return in_turns(without_empty(system_as_user(messages)))


_FORMS_OF_TURNS: Sequence[Form] = (
    _unchanged,
    one_system,
    lambda messages: in_turns(one_system(messages)),
    system_as_user,
    lambda messages: in_turns(system_as_user(messages)),
    lambda messages: in_turns(one_system(without_empty(messages))),
    _strictest,
)


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**before, **after, "content": _joined([before, after])}
    if before.get("name") != after.get("name"):
        merged.pop("name", None)
    return merged


def _joined(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(message["content"] for message in messages if message["content"])
