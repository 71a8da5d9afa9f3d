"""A tool call, whole and in pieces."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 9  # what Mistral's templates demand, and the others accept


def new_id() -> str:
    """An id for a call: random, so that it is another one in every turn."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for.

    Attributes:
        name: The tool.
        arguments: Its arguments, valid by the tool's schema.
        id: What the tool's answer refers to.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=new_id, compare=False)


@dataclass(frozen=True)
class CallDelta:
    """A piece of a call, as it is written.

    Attributes:
        index: Which of the answer's calls.
        arguments: The next characters of its arguments' JSON.
        name: The tool, in the call's first piece; None in the others.
        id: The call's id, in its first piece; None in the others.
    """

    index: int
    arguments: str = ""
    name: str | None = None
    id: str | None = None


class CallLog:
    """An answer's calls, put together from their pieces."""

    def __init__(self) -> None:
        self._deltas: list[CallDelta] = []
        self._shown = 0

    def add(self, delta: CallDelta) -> None:
        """Take the next piece."""
        self._deltas.append(delta)

    def release(self) -> tuple[CallDelta, ...]:
        """The pieces that were not released before."""
        ready, self._shown = tuple(self._deltas[self._shown :]), len(self._deltas)
        return ready

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls."""
        arguments: dict[int, str] = {}
        for delta in self._deltas:
            arguments[delta.index] = arguments.get(delta.index, "") + delta.arguments
        opened = [delta for delta in self._deltas if delta.name is not None]
        return tuple(ToolCall(one.name or "", json.loads(arguments[one.index]), one.id or "") for one in opened)
