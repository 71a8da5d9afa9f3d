"""Tools as callers give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, get_origin

from pydantic import BaseModel

from deepen_llm.errors import ConfigError
from deepen_llm.structure.schema import enforceable
from deepen_llm.tools import mappings, parameters
from deepen_llm.tools.choice import ToolChoice
from deepen_llm.tools.functions import Signature


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
            given: A function with type hints, whose Google docstring says what it does; a pydantic model or another
                type of objects; or a mapping as the APIs have.

        Raises:
            ConfigError: It describes no tool, or its arguments cannot be held to its schema.
        """
        if isinstance(given, Tool):
            made = given
        elif isinstance(given, type) or get_origin(given) is not None:
            made = cls.of_type(given)
        elif isinstance(given, Mapping | BaseModel):
            made = cls(*mappings.read(given if isinstance(given, Mapping) else given.model_dump(by_alias=True)))
        elif callable(given):
            made = _of_function(given)
        else:
            raise ConfigError(f"{given!r:.120} is no tool", hint=f"give {mappings.FORMS}")
        _ = made.arguments  # which tells what is wrong
        return made

    @classmethod
    def of_type(cls, kind: Any, name: str | None = None, description: str | None = None) -> Tool:
        """A tool whose arguments are the fields of a type, and are read as that type.

        Args:
            kind: A pydantic model, a dataclass, a ``TypedDict`` or another type.
            name: The tool's name; None for the type's.
            description: What the tool does; None for the type's docstring.

        Raises:
            ConfigError: Its values are no objects, or cannot be held to it.
        """
        named = str(name or getattr(kind, "__name__", kind))
        with _naming(named):
            schema, said = parameters.of_type(kind)
        return cls(named, said if description is None else description, schema)

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        """The schema that a call's arguments are held to: the parameters, and no other keys.

        Raises:
            ConfigError: They cannot be held to it; it names the tool.
        """
        with _naming(self.name):
            return _held(parameters.closed(self.parameters))

    def definition(self) -> dict[str, Any]:
        """The form that chat templates take."""
        inner = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": inner}


def _held(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What calls are held to; a request's tools are read several times, and most requests have those of the last."""
    try:
        written = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        return enforceable(schema)  # which tells what is wrong
    return _held_as_written(written)


@lru_cache(maxsize=1024)
def _held_as_written(written: str) -> Mapping[str, Any]:
    return enforceable(json.loads(written))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the tool in what is refused inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"tool {name!r}: {error.message}", hint=error.hint) from error


def _of_function(function: Callable[..., Any]) -> Tool:
    signature = Signature.of(function)
    try:
        return Tool.of_type(signature.kind, signature.name, signature.description)
    except ConfigError as error:
        refused = next((name for name in signature.hints if not _holds(signature.only(name))), None)
        if refused is None or repr(refused) in error.message:
            raise
        raise ConfigError(f"parameter {refused!r} of {error.message}", hint=error.hint) from error


def _holds(kind: Any) -> bool:
    try:
        parameters.of_type(kind)
    except ConfigError:
        return False
    return True


@dataclass(frozen=True)
class Toolbox:
    """The tools of one request.

    Attributes:
        tools: The tools.
        choice: Whether the model must call.
        parallel: Whether an answer may hold several calls.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice = field(default_factory=ToolChoice)
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
        made = tuple(Tool.of(tool) for tool in mappings.spread(tools or ()))
        names = [tool.name for tool in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two tools are called {twice!r}", hint="give every tool a name of its own")
        chosen = ToolChoice.of(choice, names)
        return cls(made, chosen, parallel and chosen.name is None) if chosen and made else None

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """Those that may be called."""
        return tuple(tool for tool in self.tools if self.choice.name in {None, tool.name})
