"""Structures as users give them: under a name, as a JSON schema, and as the arguments of a tool."""

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
"""The only property of the object that stands for an answer which is none: a function takes an object."""

_OF_TOOLS = ("function", "parameters", "input_schema", "inputSchema", "toolSpec")


@dataclass(frozen=True)
class Wanted:
    """A structure that answers shall have.

    Attributes:
        name: What it is called.
        schema: Its JSON schema.
        kind: The type that answers are read as; None for plain JSON values.
        description: What it is.
    """

    name: str
    schema: Mapping[str, Any]
    kind: Any = None
    description: str = ""

    @classmethod
    def of(cls, given: Any) -> Wanted:
        """A user's structure.

        Raises:
            ConfigError: It is none.
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
        return cls(name, schema, kind, _said_of(kind, schema))

    @property
    def of_object(self) -> bool:
        """Whether every answer is an object, as the arguments of a function are."""
        return rooted(self.schema).get("type") == "object"

    @property
    def traced(self) -> dict[str, Any]:
        """The schema that LangChain's tracers record, in LangChain's form."""
        said = {"description": self.description} if self.description else {}
        plain = dict(self.schema) if self.kind is None else rooted(briefly(self.schema))
        return {"title": self.name, **said, **plain}

    @cached_property
    def tool(self) -> Tool:
        """The function that is called with an answer; one that is no object is its argument ``answer``.

        Raises:
            ConfigError: Answers cannot be held to the schema.
        """
        if self.kind is None or is_old(self.kind):
            _ = enforceable(self.schema)  # which tells what is wrong, before it stands inside another
            schema = dict(self.schema) if self.of_object else _inside(self.schema)
            return Tool.of(Tool(self.name, self.description, schema))
        kind = self.kind if self.of_object else TypedDict(self.name, {INSIDE: self.kind})  # type: ignore[operator]
        return Tool.of(Tool.of_type(kind, self.name, self.description))


def _is_function(given: Any) -> bool:
    return not isinstance(given, type) and hasattr(given, "__code__")


def _of_schema(given: Mapping[str, Any]) -> Wanted:
    """A JSON schema, also in the forms of the APIs' own response_format."""
    wrapped = given.get("json_schema", given)
    inner = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if isinstance(inner, Mapping):
        return Wanted(str(wrapped.get("name") or inner.get("title") or INSIDE), inner, None, _text(inner))
    if wrapped is not given:
        raise ConfigError(
            f"{given!r:.120} holds no schema",
            hint="give {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}",
        )
    return Wanted(str(given.get("title") or INSIDE), given, None, _text(given))


def _text(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or "")


def _said_of(kind: Any, schema: Mapping[str, Any]) -> str:
    own = kind.__doc__ if isinstance(kind, type) and issubclass(kind, Enum) else None
    return _text(rooted(schema)) or ("" if own in (None, Enum.__doc__, "An enumeration.") else str(own).strip())


def _inside(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object whose only property is of the given schema."""
    place = f"#/properties/{INSIDE}"

    def moved(one: Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(reference := one.get("$ref"), str) and reference.startswith("#"):
            return {**one, "$ref": place + reference[1:]}
        return one

    return {"type": "object", "properties": {INSIDE: everywhere(schema, moved)}, "required": [INSIDE]}
