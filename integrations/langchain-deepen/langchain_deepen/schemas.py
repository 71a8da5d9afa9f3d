"""Converts a requested structure to a name with a JSON schema, and to a tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from langchain_core.tools import BaseTool
from typing_extensions import TypedDict

from deepen_llm.errors import ConfigError
from deepen_llm.structure import enforceable, everywhere, type_schema
from deepen_llm.tools import Tool, briefly, rooted
from langchain_deepen.tools import described, is_old
from langchain_deepen.typed_dicts import readable

INSIDE = "answer"
"""The property that holds an answer which is no object, as a function's arguments must be an object."""

_OF_TOOLS = ("function", "parameters", "input_schema", "inputSchema", "toolSpec")


@dataclass(frozen=True)
class Wanted:
    """A structure that answers must have.

    Attributes:
        name: Its name.
        schema: Its JSON schema.
        kind: The type that answers are read as; None for plain JSON values.
        description: Its description.
    """

    name: str
    schema: Mapping[str, Any]
    kind: Any = None
    description: str = ""

    @classmethod
    def of(cls, given: Any) -> Wanted:
        """Convert a type, function, tool or JSON schema.

        Raises:
            ConfigError: It describes no structure.
        """
        if isinstance(given, Mapping) and not any(key in given for key in _OF_TOOLS):
            return _of_schema(given)
        if isinstance(given, Mapping | BaseTool) or (callable(given) and _is_function(given)):
            tool = described(given)
            return cls(tool.name, {**tool.arguments}, None, tool.description)
        kind = readable(given)
        schema = kind.schema() if is_old(kind) else type_schema(kind)
        named = str(getattr(kind, "__name__", None) or INSIDE) if isinstance(kind, type) else INSIDE
        name = str(schema.get("title") or named)
        return cls(name, schema, kind, _description(kind, schema))

    @property
    def of_object(self) -> bool:
        """Whether every answer is an object, as the arguments of a function are."""
        return rooted(self.schema).get("type") == "object"

    @property
    def traced(self) -> dict[str, Any]:
        """The schema for LangChain's tracers, in LangChain's form."""
        extra = {"description": self.description} if self.description else {}
        plain = dict(self.schema) if self.kind is None else rooted(briefly(self.schema))
        return {"title": self.name, **extra, **plain}

    @cached_property
    def tool(self) -> Tool:
        """The tool whose arguments are the answer; an answer that is no object is its argument ``answer``.

        Raises:
            ConfigError: The schema cannot be enforced.
        """
        if self.kind is None or is_old(self.kind):
            _ = enforceable(self.schema)  # raises an error with paths that are relative to this schema
            schema = dict(self.schema) if self.of_object else _inside(self.schema)
            return Tool.of(Tool(self.name, self.description, schema))
        kind = self.kind if self.of_object else TypedDict(self.name, {INSIDE: self.kind})  # type: ignore[operator]
        return Tool.of(Tool.of_type(kind, self.name, self.description))


def _is_function(given: Any) -> bool:
    return not isinstance(given, type) and hasattr(given, "__code__")


def _of_schema(given: Mapping[str, Any]) -> Wanted:
    """Convert a JSON schema, also inside a ``response_format`` of a provider's API."""
    wrapped = given.get("json_schema", given)
    inner = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if isinstance(inner, Mapping):
        return Wanted(str(wrapped.get("name") or inner.get("title") or INSIDE), inner, None, _text(inner))
    if wrapped is not given:
        raise ConfigError(
            f"expected a schema in the response_format, got {given!r:.120}",
            hint="give {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}",
        )
    return Wanted(str(given.get("title") or INSIDE), given, None, _text(given))


def _text(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or "")


def _description(kind: Any, schema: Mapping[str, Any]) -> str:
    doc = kind.__doc__ if isinstance(kind, type) and issubclass(kind, Enum) else None
    return _text(rooted(schema)) or ("" if doc in (None, Enum.__doc__, "An enumeration.") else str(doc).strip())


def _inside(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object whose only property is of the given schema."""
    prefix = f"#/properties/{INSIDE}"

    def moved(node: Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(reference := node.get("$ref"), str) and reference.startswith("#"):
            return {**node, "$ref": prefix + reference[1:]}
        return node

    return {"type": "object", "properties": {INSIDE: everywhere(schema, moved)}, "required": [INSIDE]}
