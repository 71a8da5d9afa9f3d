"""Definitions of tools, made from functions, types or mappings."""

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
    """A tool that the model may call.

    Attributes:
        name: The name.
        description: What the tool does.
        parameters: The JSON schema of the arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, described: Any) -> Tool:
        """Make a tool of a function, a type or a mapping.

        Args:
            described: A function with type hints and a Google docstring; a pydantic model or another type of objects;
                or a mapping in the form of an API.

        Raises:
            ConfigError: It describes no tool, or a grammar cannot enforce its schema.
        """
        if isinstance(described, Tool):
            tool = described
        elif isinstance(described, type) or get_origin(described) is not None:
            tool = cls.of_type(described)
        elif isinstance(described, Mapping | BaseModel):
            tool = cls(
                *mappings.read(described if isinstance(described, Mapping) else described.model_dump(by_alias=True))
            )
        elif callable(described):
            tool = _of_function(described)
        else:
            raise ConfigError(f"expected a tool, got {described!r:.120}", hint=f"give {mappings.FORMS}")
        _ = tool.arguments  # raises if a grammar cannot enforce the schema
        return tool

    @classmethod
    def of_type(cls, kind: Any, name: str | None = None, description: str | None = None) -> Tool:
        """Make a tool whose arguments are the fields of a type.

        Args:
            kind: A pydantic model, a dataclass, a ``TypedDict`` or another type.
            name: The tool's name; None for the type's.
            description: What the tool does; None for the type's docstring.

        Raises:
            ConfigError: Its values are no objects, or a grammar cannot enforce its schema.
        """
        named = str(name or getattr(kind, "__name__", kind))
        with _naming(named):
            schema, documented = parameters.of_type(kind)
        return cls(named, documented if description is None else description, schema)

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        """The schema that a grammar enforces for a call's arguments: the parameters, and no other keys.

        Raises:
            ConfigError: A grammar cannot enforce it; the message names the tool.
        """
        with _naming(self.name):
            return _enforceable(parameters.closed(self.parameters))

    def definition(self) -> dict[str, Any]:
        """Make the mapping that chat templates expect."""
        inner = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": inner}


def _enforceable(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rewrite a schema for grammars, cached by its JSON, since most requests have the tools of the last one."""
    try:
        written = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        return enforceable(schema)  # raises the exact error
    return _enforceable_json(written)


@lru_cache(maxsize=1024)
def _enforceable_json(written: str) -> Mapping[str, Any]:
    return enforceable(json.loads(written))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix errors with the name of the tool."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"tool {name!r}: {error.message}", hint=error.hint) from error


def _of_function(function: Callable[..., Any]) -> Tool:
    signature = Signature.of(function)
    try:
        return Tool.of_type(signature.kind, signature.name, signature.description)
    except ConfigError as error:
        refused = next((name for name in signature.hints if not _is_supported(signature.only(name))), None)
        if refused is None or repr(refused) in error.message:
            raise
        raise ConfigError(f"parameter {refused!r} of {error.message}", hint=error.hint) from error


def _is_supported(kind: Any) -> bool:
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
        choice: Whether the model must call a tool, and which.
        parallel: Whether an answer may have several calls.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice = field(default_factory=ToolChoice)
    parallel: bool = True

    @classmethod
    def of(cls, tools: Sequence[Any] | None, choice: Any = "auto", parallel: bool = True) -> Toolbox | None:
        """Make the tools of a request; None if there are none, or none may be called.

        Args:
            tools: Descriptions of tools, as `Tool.of` accepts them.
            choice: ``auto``, ``none``, ``required`` or ``any``, a tool's name, or
                ``{"type": "function", "function": {"name": ...}}``.
            parallel: Whether an answer may have several calls.

        Raises:
            ConfigError: A description is invalid, two tools have one name, or the choice names no tool.
        """
        if tools is not None and (isinstance(tools, str | Mapping) or not isinstance(tools, Sequence)):
            raise ConfigError(f"expected a list of tools, got {tools!r:.80}", hint="give a list of tools")
        toolset = tuple(Tool.of(described) for described in mappings.spread(tools or ()))
        names = [tool.name for tool in toolset]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two tools are called {twice!r}", hint="give every tool a name of its own")
        chosen = ToolChoice.of(choice, names)
        return cls(toolset, chosen, parallel and chosen.name is None) if chosen and toolset else None

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the choice allows."""
        return tuple(tool for tool in self.tools if self.choice.name in {None, tool.name})
