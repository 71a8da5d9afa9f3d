"""Which of the tools must be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepen_llm.errors import ConfigError


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model must call, and what.

    Attributes:
        required: Whether the answer is calls, and nothing else.
        name: The only tool that may be called, once; None for any.
    """

    required: bool = False
    name: str | None = None

    @classmethod
    def of(cls, given: Any, names: Sequence[str]) -> ToolChoice | None:
        """What a caller's choice means; None for no call.

        Args:
            given: See `Toolbox.of`.
            names: The tools.

        Raises:
            ConfigError: It names none of them.
        """
        named = _named(given)
        if named is None and isinstance(given, Mapping):
            given = given.get("type", given)
        if named is None and (given is None or given == "auto"):
            return cls()
        if named is None and given == "none":
            return None
        if not names:
            raise ConfigError(f"tool_choice={given!r} without tools", hint="give tools=[...] as well")
        chosen = given if named is None else named
        if chosen in names:
            return cls(required=True, name=chosen)
        if named is None and given in ("required", "any"):
            return cls(required=True)
        raise ConfigError(
            f"tool_choice={chosen!r} names none of the tools {', '.join(names)}",
            hint="give 'auto', 'none', 'required' or one of their names",
        )


def _named(given: Any) -> Any:
    """The name in a choice such as ``{"type": "function", "function": {"name": ...}}``; None where there is none."""
    inner = given.get("function", given) if isinstance(given, Mapping) else None
    return inner.get("name") if isinstance(inner, Mapping) else inner
