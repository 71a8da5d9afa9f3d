"""Schemas of a tool's parameters: objects with their properties at the root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import everywhere
from deepen_llm.structure.response_format import type_schema

_ANNOTATIONS = frozenset(("$schema", "$id", "$comment", "title", "description", "default", "examples"))
_FORMATS = {pattern: name for name, pattern in reversed(PATTERNS.items())}  # the first name of equal patterns
_TYPES = ("OBJECT", "ARRAY", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "NULL")
_SAYS_PROPERTIES = frozenset(
    """$ref additionalProperties allOf anyOf const dependentRequired dependentSchemas enum if minProperties not oneOf
    patternProperties properties propertyNames required unevaluatedProperties
    """.split()  # noqa: SIM905 (shorter)
)


def of_type(kind: Any) -> tuple[dict[str, Any], str]:
    """Make the parameters of a type's fields, and its description.

    Args:
        kind: A pydantic model, a dataclass, a ``TypedDict`` or another type.

    Raises:
        ConfigError: Its values are no objects.
    """
    schema = rooted(briefly(type_schema(kind)))
    if schema.get("type") != "object":
        raise ConfigError(
            f"expected a type of objects, as the arguments of a call, got {getattr(kind, '__name__', kind)!s:.80}",
            hint="give it as a field of a pydantic model",
        )
    described = str(schema.pop("description", "") or "")
    return schema, described


def rooted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a reference at the root of a schema by its definition, since templates read the properties there."""
    resolved, seen = dict(schema), set[str]()
    while isinstance(reference := resolved.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        pointer, _, name = reference.rpartition("/")
        definitions = resolved.get(pointer.removeprefix("#/"))
        definition = definitions.get(name) if isinstance(definitions, Mapping) else None
        if not isinstance(definition, Mapping):
            return resolved
        resolved = {**definition, **{key: value for key, value in resolved.items() if key != "$ref"}}
    return resolved


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Close the schema of a call's arguments: without named properties, there are none.

    Raises:
        ConfigError: It is no schema, for example because it has properties at its root.
    """
    bare = not _SAYS_PROPERTIES & set(parameters)
    if bare and set(parameters) - _ANNOTATIONS and "type" not in parameters:
        raise ConfigError(
            f"expected a JSON schema, got {dict(parameters)!s:.120} without any of its keywords",
            hint="give one like {'type': 'object', 'properties': {...}, 'required': [...]}",
        )
    return {**({"properties": {}} if bare else {}), **parameters, "type": "object"}


def briefly(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten a type's schema for a prompt: without titles, and with formats in place of their patterns.

    Its meaning is the same, since grammars enforce a format by this pattern.
    """
    shortened: dict[str, Any] = everywhere(schema, _brief)
    return shortened


def _brief(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    untitled = {key: value for key, value in schema.items() if key != "title"}
    name = _FORMATS.get(str(untitled.get("pattern")))
    if name is None or "format" in untitled:
        return untitled
    return {
        ("format" if key == "pattern" else key): (name if key == "pattern" else value)
        for key, value in untitled.items()
    }


def lowered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the types of a schema to lower case; Google's API has them in capitals."""
    converted: dict[str, Any] = everywhere(
        schema, lambda part: {**part, "type": part["type"].lower()} if part.get("type") in _TYPES else part
    )
    return converted
