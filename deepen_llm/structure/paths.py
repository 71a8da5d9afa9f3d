"""Locations in a schema: their paths and names in messages, and iteration over subschemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from deepen_llm.errors import ConfigError

NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
NESTED = (
    "items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
    "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
DEFINITIONS = ("$defs", "definitions")
_DATA = ("const", "enum", "default", "examples", "example")  # contain values, not schemas
_SHOWN = 16  # steps of a path in messages


@dataclass(frozen=True)
class Location:
    """The location of a schema inside a schema.

    Attributes:
        path: The keys and indices that lead to it.
    """

    path: tuple[str | int, ...] = ()

    def __truediv__(self, step: str | int) -> Location:
        """Append a step."""
        return Location((*self.path, step))

    @property
    def pointer(self) -> str:
        """The JSON pointer, as in ``$ref``."""
        return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.path)

    def __str__(self) -> str:
        """Format the location for messages: the innermost property, and the pointer."""
        inner = [self.path[i + 1] for i in range(len(self.path) - 1) if self.path[i] in ("properties", *DEFINITIONS)]
        pointer = self.pointer if len(self.path) <= _SHOWN else "#/…/" + Location(self.path[-_SHOWN:]).pointer[2:]
        if not inner:
            return "the schema" if not self.path else f"the schema at {pointer}"
        kind = "property" if "properties" in self.path else "definition"
        return f"{kind} {inner[-1]!r} ({pointer})"

    def refusal(self, keyword: str, reason: str, hint: str) -> ConfigError:
        """Make the error for a keyword at this location that a grammar cannot enforce."""
        return ConfigError(f"{self}, keyword {keyword!r}: {reason}", hint=hint)


def direct_subschemas(schema: Mapping[str, Any], location: Location = Location()) -> Iterator[tuple[Location, Any]]:
    """Iterate over the schemas directly inside a schema, including boolean ones."""
    for key in NAMED:
        if isinstance(named := schema.get(key), dict):
            yield from ((location / key / name, subschema) for name, subschema in named.items())
    for key in LISTED:
        if isinstance(listed := schema.get(key), list):
            yield from ((location / key / index, subschema) for index, subschema in enumerate(listed))
    for key in NESTED:
        if isinstance(nested := schema.get(key), dict | bool):
            yield location / key, nested


def subschemas(schema: Any, location: Location = Location()) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Iterate over a schema and all schemas inside it, outer ones first, without boolean ones."""
    if isinstance(schema, dict):
        yield location, schema
        for inner_location, subschema in direct_subschemas(schema, location):
            yield from subschemas(subschema, inner_location)


def everywhere(schema: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """Copy a schema and apply a change to it and to all schemas inside it.

    Args:
        schema: A schema; any other value is returned unchanged.
        change: Returns a changed schema; its inner schemas are changed afterwards.
    """
    if isinstance(schema, list):
        return [everywhere(item, change) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: _changed(key, value, change) for key, value in change(schema).items()}


def _changed(key: str, value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    if key in NAMED and isinstance(value, Mapping):
        return {name: everywhere(subschema, change) for name, subschema in value.items()}
    return value if key in _DATA else everywhere(value, change)


def resolve_pointer(root: Any, pointer: str) -> Any:
    """Resolve a local reference; None if nothing is at the pointer.

    Args:
        root: The whole schema.
        pointer: A JSON pointer that begins with ``#``.
    """
    target = root
    for raw in pointer[1:].split("/")[1:]:
        step = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(step)] if step.isdigit() and int(step) < len(target) else None
        else:
            target = target.get(step) if isinstance(target, dict) else None
    return target
