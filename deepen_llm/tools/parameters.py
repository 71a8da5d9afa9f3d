"""Schemas as a tool's parameters: of an object, whose properties stand at its root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import everywhere
from deepen_llm.structure.response_format import type_schema

_ANNOTATIONS = frozenset(("$schema", "$id", "$comment", "title", "description", "default", "examples"))
_FORMATS = {pattern: name for name, pattern in reversed(PATTERNS.items())}  # of equal ones the first name
_TYPES = ("OBJECT", "ARRAY", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "NULL")
_SAYS_PROPERTIES = frozenset(
    """$ref additionalProperties allOf anyOf const dependentRequired dependentSchemas enum if minProperties not oneOf
    patternProperties properties propertyNames required unevaluatedProperties
    """.split()  # noqa: SIM905 (readable as one text)
)


def of_type(kind: Any) -> tuple[dict[str, Any], str]:
    """The parameters that are a type's, and its description.

    Args:
        kind: A pydantic model, a dataclass, a ``TypedDict`` or another type.

    Raises:
        ConfigError: Its values are no objects.
    """
    schema = rooted(briefly(type_schema(kind)))
    if schema.get("type") != "object":
        raise ConfigError(
            f"{getattr(kind, '__name__', kind)!s:.80} is no object, and only an object can be the arguments of a call",
            hint="give it as a field of a pydantic model",
        )
    described = str(schema.pop("description", "") or "")
    return schema, described


def rooted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema with what a reference at its root names in the place of the reference, as templates read it."""
    made, seen = dict(schema), set[str]()
    while isinstance(reference := made.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        place, _, name = reference.rpartition("/")
        definitions = made.get(place.removeprefix("#/"))
        found = definitions.get(name) if isinstance(definitions, Mapping) else None
        if not isinstance(found, Mapping):
            return made
        made = {**found, **{key: value for key, value in made.items() if key != "$ref"}}
    return made


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call's arguments: where no properties are named at all, there are none.

    Raises:
        ConfigError: It is no schema, as where properties stand at its root.
    """
    bare = not _SAYS_PROPERTIES & set(parameters)
    if bare and set(parameters) - _ANNOTATIONS and "type" not in parameters:
        raise ConfigError(
            f"{dict(parameters)!s:.120} is no JSON schema: it has none of its keywords",
            hint="give one like {'type': 'object', 'properties': {...}, 'required': [...]}",
        )
    return {**({"properties": {}} if bare else {}), **parameters, "type": "object"}


def briefly(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A type's schema as a prompt should have it: no titles, and formats for the patterns that stand for them.

    It says the same: a format is held by just this pattern.
    """
    made: dict[str, Any] = everywhere(schema, _brief)
    return made


def _brief(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    made = {key: value for key, value in schema.items() if key != "title"}
    name = _FORMATS.get(str(made.get("pattern")))
    if name is None or "format" in made:
        return made
    return {
        ("format" if key == "pattern" else key): (name if key == "pattern" else value) for key, value in made.items()
    }


def lowered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its types as JSON Schema writes them; Google's API has them in capitals."""
    made: dict[str, Any] = everywhere(
        schema, lambda one: {**one, "type": one["type"].lower()} if one.get("type") in _TYPES else one
    )
    return made
