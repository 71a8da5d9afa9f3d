"""Equivalent forms of a conversation, from the given one to the strictest.

A chat template refuses what its model never saw: a system message, one that is not the first, two messages of a role in
succession, several calls at once, ids of another length. Each form here avoids some of that, and keeps the order of all
texts.
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
        own: How the template writes calls; None where it knows no tools, so that they are told in words.
    """
    for of_tools in _forms_of_tools(messages, tools, own):
        for of_turns in _FORMS_OF_TURNS:
            yield lambda given, first=of_tools, then=of_turns: then(first(given))  # type: ignore[misc]


def _forms_of_tools(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], own: ToolFormat | None
) -> Sequence[Form]:
    if own is None:
        return [lambda given: in_words(given, tools)] if tools or speaks_of_tools(messages) else [_as_given]
    if not speaks_of_tools(messages):
        return [_as_given]
    return [_as_given, short_ids, single_calls, calls_apart, lambda given: in_words(given, (), own)]


def _as_given(messages: Messages) -> Messages:
    return messages


def short_ids(messages: Messages) -> Messages:
    """Ids of calls as Mistral's templates demand them: nine letters and digits."""
    made = []
    for message in messages:
        one = dict(message)
        if calls := message.get("tool_calls"):
            one["tool_calls"] = [{**call, "id": _short(call["id"])} for call in calls]
        if message.get("tool_call_id"):
            one["tool_call_id"] = _short(message["tool_call_id"])
        made.append(one)
    return made


def _short(id_: str) -> str:
    if _ID.match(id_):
        return id_
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in hashlib.blake2b(id_.encode(), digest_size=9).digest())


def single_calls(messages: Messages) -> Messages:
    """One call in a message, each followed by its result, as Llama's templates demand; ids as in `short_ids`."""
    made, rest = Messages(), short_ids(messages)
    while rest:
        message, rest = rest[0], rest[1:]
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            made.append(message)
            continue
        count = next((i for i, one in enumerate(rest) if one["role"] != "tool"), len(rest))
        results, rest = rest[:count], rest[count:]
        for place, call in enumerate(calls):
            made.append({**message, "tool_calls": [call], **({"content": ""} if place else {})})
            made += [one for one in results if one.get("tool_call_id") == call["id"]]
        known = {call["id"] for call in calls}
        made += [one for one in results if one.get("tool_call_id") not in known]
    return made


def calls_apart(messages: Messages) -> Messages:
    """Text and calls of one message apart: many templates write the calls alone. The rest as in `single_calls`."""
    made = Messages()
    for message in single_calls(messages):
        if message.get("tool_calls") and message["content"]:
            made.append({key: value for key, value in message.items() if key != "tool_calls"})
            message = {**message, "content": ""}
        made.append(message)
    return made


def one_system(messages: Messages) -> Messages:
    """One system message, at the head; what later ones say stands where they stood, in the user's message there."""
    count = next((i for i, one in enumerate(messages) if one["role"] != "system"), len(messages))
    head = [{**messages[0], "content": _joined(messages[:count])}] if count else []
    return head + system_as_user(messages[count:])


def system_as_user(messages: Messages) -> Messages:
    """No system message: what it says stands in the user's message that follows it, or else the one before it."""
    made, told = Messages(), False
    for message in messages:
        system = message["role"] == "system"
        plain = {**message, "role": "user"} if system else message
        if made and made[-1]["role"] == plain["role"] == "user" and (told or system):
            plain = _merged(made.pop(), plain)
        made.append(plain)
        told = system
    return made


def in_turns(messages: Messages) -> Messages:
    """User and assistant in turns, the user first: neighbors of one role are one message.

    Where the assistant has spoken first, an empty user message stands before it: it puts no words into anyone's mouth.
    """
    made = Messages()
    for message in messages:
        if made and _may_merge(made[-1], message):
            message = _merged(made.pop(), message)
        elif message["role"] == "assistant" and all(one["role"] == "system" for one in made):
            made.append({"role": "user", "content": ""})
        made.append(message)
    return made


def _may_merge(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return before["role"] == after["role"] and before["role"] in {"user", "assistant"} and not before.get("tool_calls")


def without_empty(messages: Messages) -> Messages:
    """No message that says nothing."""
    return [one for one in messages if one["content"].strip() or one.get("tool_calls")]


def _strictest(messages: Messages) -> Messages:
    return in_turns(without_empty(system_as_user(messages)))


_FORMS_OF_TURNS: Sequence[Form] = (
    _as_given,
    one_system,
    lambda given: in_turns(one_system(given)),
    system_as_user,
    lambda given: in_turns(system_as_user(given)),
    lambda given: in_turns(one_system(without_empty(given))),
    _strictest,
)


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    made = {**before, **after, "content": _joined([before, after])}
    if before.get("name") != after.get("name"):
        made.pop("name", None)
    return made


def _joined(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(one["content"] for one in messages if one["content"])
