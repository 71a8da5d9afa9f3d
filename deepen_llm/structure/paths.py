"""Where in a schema something stands: its path, its name in messages, and the schemas inside a schema."""

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
_DATA = ("const", "enum", "default", "examples", "example")  # hold values, not schemas
_SHOWN = 16  # steps of a path in messages


@dataclass(frozen=True)
class Place:
    """A schema inside a schema.

    Attributes:
        path: The keys and indices that lead to it.
    """

    path: tuple[str | int, ...] = ()

    def __truediv__(self, step: str | int) -> Place:
        """The place one step further inside."""
        return Place((*self.path, step))

    @property
    def pointer(self) -> str:
        """Its JSON pointer, as ``$ref`` has it."""
        return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.path)

    def __str__(self) -> str:
        """How messages name it: the innermost property, and the pointer."""
        inner = [self.path[i + 1] for i in range(len(self.path) - 1) if self.path[i] in ("properties", *DEFINITIONS)]
        pointer = self.pointer if len(self.path) <= _SHOWN else "#/…/" + Place(self.path[-_SHOWN:]).pointer[2:]
        if not inner:
            return "the schema" if not self.path else f"the schema at {pointer}"
        kind = "property" if "properties" in self.path else "definition"
        return f"{kind} {inner[-1]!r} ({pointer})"

    def refusal(self, keyword: str, reason: str, hint: str) -> ConfigError:
        """The error for a keyword here that cannot be held."""
        return ConfigError(f"{self}, keyword {keyword!r}: {reason}", hint=hint)


def inside(schema: Mapping[str, Any], place: Place = Place()) -> Iterator[tuple[Place, Any]]:
    """The schemas directly inside a schema, boolean ones too.

    Args:
        schema: A schema.
        place: Where it stands.
    """
    for key in NAMED:
        if isinstance(named := schema.get(key), dict):
            yield from ((place / key / name, one) for name, one in named.items())
    for key in LISTED:
        if isinstance(listed := schema.get(key), list):
            yield from ((place / key / index, one) for index, one in enumerate(listed))
    for key in NESTED:
        if isinstance(nested := schema.get(key), dict | bool):
            yield place / key, nested


def within(schema: Any, place: Place = Place()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """A schema and all schemas inside it, outer ones first; boolean ones are left out.

    Args:
        schema: A schema.
        place: Where it stands.
    """
    if isinstance(schema, dict):
        yield place, schema
        for inner, one in inside(schema, place):
            yield from within(one, inner)


def everywhere(schema: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """A copy of a schema with a change to itself and to all schemas inside it.

    Args:
        schema: A schema; anything else comes back as it is.
        change: Makes of a schema another, whose inner schemas are still to be changed.
    """
    if isinstance(schema, list):
        return [everywhere(one, change) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: _changed(key, value, change) for key, value in change(schema).items()}


def _changed(key: str, value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    if key in NAMED and isinstance(value, Mapping):
        return {name: everywhere(one, change) for name, one in value.items()}
    return value if key in _DATA else everywhere(value, change)


def at(root: Any, pointer: str) -> Any:
    """What a local reference names; None where it leads nowhere.

    Args:
        root: The whole schema.
        pointer: A JSON pointer that begins with ``#``.
    """
    found = root
    for raw in pointer[1:].split("/")[1:]:
        step = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(step)] if step.isdigit() and int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found
