"""Chat histories of any provider as messages that chat templates take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.tools.blocks import Answered, Called, Piece, data_as_text, pieces
from deepen_llm.tools.messages import called_of, normalised, normalised_call, plain_role

Made = dict[str, Any]


class Placed(dict[str, Any]):
    """A message that knows which of the caller's it is.

    Args:
        message: The message, `normalised`.
        place: Its index in the list that the caller gave.
    """

    def __init__(self, message: Mapping[str, Any], place: int) -> None:
        super().__init__(message)
        self.place = place


def conversation(messages: Sequence[Any]) -> list[Placed]:
    """A history as plain messages: text, tool calls and results each where templates expect them.

    Args:
        messages: The caller's messages; one with several blocks may become several.

    Raises:
        PromptError: A message is none, or says something that is not text; it is named by its index.
    """
    made: list[Placed] = []
    for place, message in enumerate(messages):
        with _told_of(place, message):
            _extend(made, message, place)
    _pair(made)
    return made


@contextmanager
def _told_of(place: int, message: Any) -> Iterator[None]:
    """Say in an error which message it is about."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{named(place, message)}: {error.message}", hint=error.hint) from error


def named(place: int, message: Any) -> str:
    """What errors call a message: its index in the caller's list, from 0, and its role."""
    role = message.get("role") if isinstance(message, Mapping) else None
    return f"message {place} (role {role!r})" if role is not None else f"message {place}"


def _extend(made: list[Placed], message: Any, place: int) -> None:
    if isinstance(message, Mapping) and message.get("role") is None and isinstance(message.get("type"), str):
        _extend_by_item(made, message, place)
    else:
        made += [Placed(normalised(one), place) for one in _parted(message)]


def _extend_by_item(made: list[Placed], item: Mapping[str, Any], place: int) -> None:
    """An item of OpenAI's Responses interface that is no message: its calls belong to the answer before it."""
    said = list(pieces([item]))
    for one in _in_turn({"role": "assistant"}, said) if said else ():
        plain, before = Placed(normalised(one), place), made[-1] if made else None
        if plain["role"] == "assistant" and before is not None and before["role"] == "assistant":
            before["content"] += plain["content"]
            if calls := [*before.get("tool_calls", ()), *plain.get("tool_calls", ())]:
                before["tool_calls"] = calls
        else:
            made.append(plain)


def _parted(message: Any) -> list[Made]:
    """A message as one for each role that it has parts of."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        return [message]  # which `normalised` refuses
    role, content = plain_role(message["role"]), message.get("content", message.get("parts"))
    if content is None and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    fields = {**message, "tool_calls": None}
    calls = [normalised_call(call) for call in called_of(message)]
    if content is None:
        return [{**fields, "content": None, "tool_calls": calls}]
    said = list(pieces(data_as_text(content) if role == "tool" else content))
    if role == "assistant":
        return _in_turn(fields, said, calls)
    if calls or any(isinstance(piece, Called) for piece in said):
        raise PromptError("it holds a tool call, which is an assistant's", hint="give it the role 'assistant'")
    if role == "tool":
        return [_result_of(fields, said)]
    return _after_results(fields, said)


def _after_results(fields: Made, said: Sequence[Piece]) -> list[Made]:
    """Tools' answers, which Anthropic and Google put into the user's message, and then its text."""
    results = [piece for piece in said if isinstance(piece, Answered)]
    texts = [piece for piece in said if isinstance(piece, str)]
    made = [_result(one) for one in results]
    if texts or not results:
        made.append({**fields, "content": "".join(texts)})
    return made


def _result_of(fields: Made, said: Sequence[Piece]) -> Made:
    """A tool's message; blocks in it may say which call they answer."""
    texts = [piece.text if isinstance(piece, Answered) else str(piece) for piece in said]
    found = next((piece for piece in said if isinstance(piece, Answered)), None)
    own = {"tool_call_id": found.call, "name": found.name or None} if found else {}
    return {**own, **{key: value for key, value in fields.items() if value is not None}, "content": "".join(texts)}


def _result(one: Answered) -> Made:
    return {"role": "tool", "tool_call_id": one.call, "name": one.name or None, "content": one.text}


def _in_turn(fields: Made, said: Sequence[Piece], calls: Sequence[Made] = ()) -> list[Made]:
    """An assistant's message, parted where a tool answered within it."""
    known, made = list(calls), list[Made]()
    texts, own = list[str](), list[Made]()
    for piece in said:
        if isinstance(piece, Answered):
            made += [{**fields, "content": "".join(texts), "tool_calls": own}] if texts or own else []
            made.append(_result(piece))
            texts, own = [], []
        elif isinstance(piece, Called):
            if (call := normalised_call(piece.call)) and not _among(call, known):
                own.append(call)
        else:
            texts.append(piece)
    if texts or own or calls or not made:
        made.append({**fields, "content": "".join(texts), "tool_calls": [*calls, *own]})
    return made


def _among(call: Made, known: Sequence[Made]) -> bool:
    """Whether a call of the content is one that the message's ``tool_calls`` tell too."""
    return any(
        call["id"] == one["id"] if call["id"] and one["id"] else call["function"]["name"] == one["function"]["name"]
        for one in known
    )


def _pair(made: Sequence[Made]) -> None:
    """Give calls and results that have no id one, and results the name of their tool."""
    waiting: list[Made] = []
    numbers = iter(f"call{number:05d}" for number in range(100_000))
    for message in made:
        for call in message.get("tool_calls", ()):
            call["id"] = call["id"] or next(numbers)
            waiting.append(call)
        if message["role"] == "tool":
            call_of = _answered_by(message, waiting)
            if call_of is not None:
                message["tool_call_id"] = call_of["id"]
                message["name"] = message.get("name") or call_of["function"]["name"]
                waiting.remove(call_of)


def _answered_by(result: Made, waiting: Sequence[Made]) -> Made | None:
    """The call that a result answers: by its id, else by its tool's name, else the first one."""
    found: Iterator[Made] = iter(waiting)
    if id_ := result.get("tool_call_id"):
        found = (call for call in waiting if call["id"] == id_)
    elif name := result.get("name"):
        found = (call for call in waiting if call["function"]["name"] == name)
    return next(found, None)
