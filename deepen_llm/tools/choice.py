"""Tool choice: whether the model must call a tool, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepen_llm.errors import ConfigError


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model must call a tool, and which.

    Attributes:
        required: Whether the answer consists of calls only.
        name: The only tool that may be called, once; None for any.
    """

    required: bool = False
    name: str | None = None

    @classmethod
    def of(cls, requested: Any, names: Sequence[str]) -> ToolChoice | None:
        """Make a tool choice of a caller's argument; None if no tool may be called.

        Args:
            requested: The argument, as in `Toolbox.of`.
            names: The names of the tools.

        Raises:
            ConfigError: The choice names no tool.
        """
        named = _name_in(requested)
        if named is None and isinstance(requested, Mapping):
            requested = requested.get("type", requested)
        if named is None and (requested is None or requested == "auto"):
            return cls()
        if named is None and requested == "none":
            return None
        if not names:
            raise ConfigError(
                f"expected tools for tool_choice={requested!r}, got a call without tools",
                hint="give tools=[...] as well",
            )
        chosen = requested if named is None else named
        if chosen in names:
            return cls(required=True, name=chosen)
        if named is None and requested in ("required", "any"):
            return cls(required=True)
        raise ConfigError(
            f"expected tool_choice to be one of the tools {', '.join(names)}, got {chosen!r}",
            hint="give 'auto', 'none', 'required' or one of their names",
        )


def _name_in(requested: Any) -> Any:
    """The name in a choice such as ``{"type": "function", "function": {"name": ...}}``; None if it has none."""
    inner = requested.get("function", requested) if isinstance(requested, Mapping) else None
    return inner.get("name") if isinstance(inner, Mapping) else inner
