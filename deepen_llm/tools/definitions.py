"""Tools as callers give them, and which of them must be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from transformers.utils import get_json_schema

from deepen_llm.errors import ConfigError
from deepen_llm.options import suggestion
from deepen_llm.structure.schema import enforceable

_KEYS = ("name", "description", "parameters", "input_schema", "strict")
_FORMS = (
    "a documented function, a pydantic model, or {'type': 'function', 'function': {'name': ..., 'parameters': {...}}}"
)


@dataclass(frozen=True)
class Tool:
    """Something that the model may ask to be called.

    Attributes:
        name: Its name.
        description: What it does.
        parameters: JSON schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, given: Any) -> Tool:
        """A tool, from whatever describes one.

        Args:
            given: A function with type hints and a Google docstring, a pydantic model, or a mapping as the APIs have.

        Raises:
            ConfigError: It describes no tool.
        """
        if isinstance(given, Tool):
            return given
        if isinstance(given, type) and issubclass(given, BaseModel):
            schema = given.model_json_schema()
            return cls(given.__name__, (given.__doc__ or "").strip(), schema)
        if callable(given):
            given = _described(given)
        inner = given.get("function", given) if isinstance(given, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str) or not inner["name"]:
            raise ConfigError(f"{given!r:.120} is no tool", hint=f"give {_FORMS}")
        _check_keys(inner)
        parameters = inner.get("parameters") or inner.get("input_schema") or {"type": "object", "properties": {}}
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise ConfigError(
                f"the parameters of tool {inner['name']!r} are no JSON schema of an object", hint=f"give {_FORMS}"
            )
        enforceable(parameters)  # which tells what is wrong
        return cls(inner["name"], str(inner.get("description") or ""), parameters)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The schema that a call's arguments are held to: the parameters, and no other keys."""
        return enforceable({**self.parameters, "type": "object"})

    def definition(self) -> dict[str, Any]:
        """The form that chat templates take."""
        inner = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": inner}


def _check_keys(described: Mapping[str, Any]) -> None:
    for key in set(described) - set(_KEYS):
        if meant := suggestion(key, _KEYS, cutoff=0.8):
            raise ConfigError(f"unknown key {key!r} in tool {described['name']!r}{meant}", hint=f"give {_FORMS}")


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model must call, and what.

    Attributes:
        required: Whether the answer is calls, and nothing else.
        name: The only tool that may be called, once; None for any.
    """

    required: bool = False
    name: str | None = None


@dataclass(frozen=True)
class Toolbox:
    """The tools of one request.

    Attributes:
        tools: The tools.
        choice: Whether the model must call.
        parallel: Whether an answer may hold several calls.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice = ToolChoice()
    parallel: bool = True

    @classmethod
    def of(cls, tools: Sequence[Any] | None, choice: Any = "auto", parallel: bool = True) -> Toolbox | None:
        """A request's tools; None where there are none, or none may be called.

        Args:
            tools: What describes them; see `Tool.of`.
            choice: ``auto``, ``none``, ``required`` or ``any``, a tool's name, or
                ``{"type": "function", "function": {"name": ...}}``.
            parallel: Whether an answer may hold several calls.

        Raises:
            ConfigError: Something is no tool, two have one name, or the choice names none of them.
        """
        if tools is not None and (isinstance(tools, str | Mapping) or not isinstance(tools, Sequence)):
            raise ConfigError(f"tools={tools!r:.80} is no list", hint="give a list of tools")
        made = tuple(Tool.of(tool) for tool in tools or ())
        names = [tool.name for tool in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two tools are called {twice!r}", hint="give every tool a name of its own")
        chosen = _choice(choice, names)
        return cls(made, chosen, parallel and chosen.name is None) if chosen and made else None

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """Those that may be called."""
        return tuple(tool for tool in self.tools if self.choice.name in {None, tool.name})


def _choice(given: Any, names: Sequence[str]) -> ToolChoice | None:
    """What a caller's choice means; None for no call."""
    named = _named(given)
    if named is None and isinstance(given, Mapping):
        given = given.get("type")
    if named is None and (given is None or given == "auto"):
        return ToolChoice()
    if named is None and given == "none":
        return None
    if not names:
        raise ConfigError(f"tool_choice={given!r} without tools", hint="give tools=[...] as well")
    chosen = given if named is None else named
    if chosen in names:
        return ToolChoice(required=True, name=chosen)
    if named is None and given in ("required", "any"):
        return ToolChoice(required=True)
    raise ConfigError(
        f"tool_choice={chosen!r} names none of the tools {', '.join(names)}",
        hint="give 'auto', 'none', 'required' or one of their names",
    )


def _named(given: Any) -> Any:
    """The name in a choice such as ``{"type": "function", "function": {"name": ...}}``; None where there is none."""
    inner = given.get("function", given) if isinstance(given, Mapping) else None
    return inner.get("name") if isinstance(inner, Mapping) else inner


def _described(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        described: Mapping[str, Any] = get_json_schema(function)
    except Exception as error:  # its own exceptions share no base
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(
            f"the function {name} describes no tool: {error}",
            hint="give it type hints and a Google docstring with an Args section, or describe it by a pydantic model",
        ) from error
    return described
