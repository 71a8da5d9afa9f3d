"""Whether two schemas have no value in common, as far as types and constants tell."""

from __future__ import annotations

import json
from typing import Any

from deepen_llm.structure.paths import at

TYPES = ("null", "boolean", "number", "string", "array", "object")


def apart(one: Any, other: Any, root: dict[str, Any], depth: int = 8) -> bool:
    """Whether no value fits both of two schemas, as far as types and constants tell.

    Args:
        one: A schema.
        other: A schema.
        root: The whole schema.
        depth: How many references are followed.
    """
    if False in (one, other):
        return True
    if not (isinstance(one, dict) and isinstance(other, dict)) or not depth:
        return False
    for this, that in ((one, other), (other, one)):
        if isinstance(this.get("$ref"), str):
            return apart(at(root, this["$ref"]), that, root, depth - 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(this.get(key), list) and all(apart(part, that, root, depth - 1) for part in this[key]):
                return True
        if any(apart(part, that, root, depth - 1) for part in this.get("allOf") or ()):
            return True
    if not types(one) & types(other):
        return True
    values = values_of(one), values_of(other)
    if None not in values:
        return not set(values[0] or ()) & set(values[1] or ())
    return _properties_apart(one, other, root, depth)


def _properties_apart(one: dict[str, Any], other: dict[str, Any], root: dict[str, Any], depth: int) -> bool:
    if types(one) & types(other) != {"object"}:
        return False
    ours, theirs = one.get("properties") or {}, other.get("properties") or {}
    for name in {*(one.get("required") or ()), *(other.get("required") or ())}:
        if name in ours and name in theirs:
            if apart(ours[name], theirs[name], root, depth - 1):
                return True
        elif (ours if name in theirs else theirs) is not None and _bars(one if name in theirs else other, name):
            return True
    return False


def _bars(schema: dict[str, Any], name: str) -> bool:
    """Whether an object cannot have a property."""
    named, others = schema.get("properties") or {}, schema.get("additionalProperties", True)
    return others is False and not schema.get("patternProperties") and name not in named


def types(schema: dict[str, Any]) -> set[str]:
    """The types that a schema's values may have; integers are numbers.

    Args:
        schema: A schema.
    """
    given = schema.get("type", list(TYPES))
    found = {"number" if one == "integer" else one for one in ([given] if isinstance(given, str) else given)}
    if (values := values_of(schema)) is not None:
        found &= {type_of(json.loads(value)) for value in values}
    return found


def type_of(value: Any) -> str:
    """A JSON value's type."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    named: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return named.get(type(value), "number")


def values_of(schema: dict[str, Any]) -> list[str] | None:
    """The values that a schema tells one by one, as JSON; None where it does not."""
    if "const" in schema:
        return [json.dumps(schema["const"], sort_keys=True)]
    if isinstance(schema.get("enum"), list):
        return [json.dumps(value, sort_keys=True) for value in schema["enum"]]
    return None
