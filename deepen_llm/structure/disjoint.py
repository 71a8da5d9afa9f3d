"""Disjointness of schemas, decided by types, constants and properties."""

from __future__ import annotations

import json
from typing import Any

from deepen_llm.structure.assertions import listed_values, type_names
from deepen_llm.structure.paths import resolve_pointer


def disjoint(one: Any, other: Any, root: dict[str, Any], depth: int = 8) -> bool:
    """Whether types, constants and properties show that no value fits both schemas.

    Args:
        one: A schema.
        other: A schema.
        root: The whole schema.
        depth: The most references to follow.
    """
    if False in (one, other):
        return True
    if not (isinstance(one, dict) and isinstance(other, dict)) or not depth:
        return False
    for this, that in ((one, other), (other, one)):
        if isinstance(this.get("$ref"), str):
            return disjoint(resolve_pointer(root, this["$ref"]), that, root, depth - 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(this.get(key), list) and all(disjoint(part, that, root, depth - 1) for part in this[key]):
                return True
        if any(disjoint(part, that, root, depth - 1) for part in this.get("allOf") or ()):
            return True
    if not types(one) & types(other):
        return True
    values = values_of(one), values_of(other)
    if None not in values:
        return not set(values[0] or ()) & set(values[1] or ())
    return _properties_disjoint(one, other, root, depth)


def _properties_disjoint(one: dict[str, Any], other: dict[str, Any], root: dict[str, Any], depth: int) -> bool:
    if types(one) & types(other) != {"object"}:
        return False
    ours, theirs = one.get("properties") or {}, other.get("properties") or {}
    for name in {*(one.get("required") or ()), *(other.get("required") or ())}:
        if name in ours and name in theirs:
            if disjoint(ours[name], theirs[name], root, depth - 1):
                return True
        elif (ours if name in theirs else theirs) is not None and _forbids(one if name in theirs else other, name):
            return True
    return False


def _forbids(schema: dict[str, Any], name: str) -> bool:
    """Whether an object schema forbids a property."""
    named, others = schema.get("properties") or {}, schema.get("additionalProperties", True)
    return others is False and not schema.get("patternProperties") and name not in named


def types(schema: dict[str, Any]) -> set[str]:
    """List the types of a schema's values; integers are numbers."""
    found = {"number" if kind == "integer" else kind for kind in type_names(schema)}
    if (values := values_of(schema)) is not None:
        found &= {type_of(json.loads(value)) for value in values}
    return found


def type_of(value: Any) -> str:
    """The type of a JSON value."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    named: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return named.get(type(value), "number")


def values_of(schema: dict[str, Any]) -> list[str] | None:
    """The values that a schema lists, as JSON; None if it lists none."""
    values = listed_values(schema)
    return None if values is None else [json.dumps(value, sort_keys=True) for value in values]
