"""Tool calls: complete, and in pieces while streaming."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 9  # as Mistral's templates require; others accept it


def new_id() -> str:
    """Make a random id for a call."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


@dataclass(frozen=True)
class ToolCall:
    """A call that the model requests.

    Attributes:
        name: The tool.
        arguments: The arguments, valid by the tool's schema.
        id: The id that the tool's result refers to.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=new_id, compare=False)


@dataclass(frozen=True)
class CallDelta:
    """A piece of a call while streaming.

    Attributes:
        index: The index of the call in the answer.
        arguments: The next characters of the arguments' JSON.
        name: The tool, in the first piece of the call; else None.
        id: The id of the call, in its first piece; else None.
    """

    index: int
    arguments: str = ""
    name: str | None = None
    id: str | None = None


class CallLog:
    """Collects the calls of an answer from their pieces."""

    def __init__(self) -> None:
        self._deltas: list[CallDelta] = []
        self._released = 0

    def add(self, delta: CallDelta) -> None:
        """Append a piece."""
        self._deltas.append(delta)

    def release(self) -> tuple[CallDelta, ...]:
        """Return the pieces since the last call."""
        ready = tuple(self._deltas[self._released :])
        self._released = len(self._deltas)
        return ready

    def whole(self) -> tuple[ToolCall, ...]:
        """Assemble the complete calls."""
        arguments: dict[int, str] = {}
        for delta in self._deltas:
            arguments[delta.index] = arguments.get(delta.index, "") + delta.arguments
        first = [delta for delta in self._deltas if delta.name is not None]
        return tuple(ToolCall(delta.name or "", json.loads(arguments[delta.index]), delta.id or "") for delta in first)
