"""Schemas of property names that parse as keys of a dictionary."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from deepen_llm.structure.narrowing import refusal

_WHOLE = r"^-?(?:0|[1-9]\d{0,14})$"


def names_of_keys(keys: JsonSchemaValue, kind: str) -> JsonSchemaValue:
    """Make the schema of property names that parse as keys of a type."""
    if "$ref" in keys or not keys:
        return keys
    if "anyOf" in keys:
        parts = [option for option in keys["anyOf"] if "string" in str(option.get("type"))]
        return names_of_keys(parts[0], kind) if parts else _unreadable(kind)
    listed = [keys["const"]] if "const" in keys else keys.get("enum")
    if listed is not None:
        return _listed(listed, kind)
    plain = {key for key in keys if key not in ("title", "description", "writeOnly")} == {"type"}
    if keys.get("type") == "string":
        return {} if plain and "format" not in keys else {key: value for key, value in keys.items() if key != "title"}
    if keys.get("type") == "boolean":
        return {"enum": ["true", "false"]}
    if keys.get("type") == "integer" and plain:
        return {"pattern": _WHOLE}
    if keys.get("type") == "number" and plain:
        return {"pattern": r"^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$"}
    return _bounded(keys) if keys.get("type") == "integer" else _unreadable(kind)


def _listed(listed: list[Any], kind: str) -> JsonSchemaValue:
    if all(isinstance(value, str) for value in listed):
        return {"enum": listed}
    if kind == "enum" and all(isinstance(value, int) and not isinstance(value, bool) for value in listed):
        return {"enum": [str(value) for value in listed]}
    return _unreadable(f"{kind} of {listed!r:.60}")


def _bounded(keys: JsonSchemaValue) -> JsonSchemaValue:
    """Make the schema of integer keys within bounds: keys of the same sign with fewer digits than the bound."""
    least = keys.get("minimum", keys.get("exclusiveMinimum", -1) + 1 if "exclusiveMinimum" in keys else None)
    most = keys.get("maximum", keys["exclusiveMaximum"] - 1 if "exclusiveMaximum" in keys else None)
    if set(keys) & {"multipleOf"}:
        return _unreadable("int with multiple_of")
    least = -(10**15) if least is None else int(least)
    most = 10**15 if most is None else int(most)
    values = range(least, most + 1)
    if len(values) <= 200:
        return {"enum": [str(value) for value in values]} if values else _unreadable("int without a value")
    digits = len(str(most)) - 1
    if least <= 1 and digits > 0:
        return {"pattern": rf"^[1-9]\d{{0,{digits - 1}}}$"}
    return {"enum": [str(value) for value in range(least, least + 200)]}


def _unreadable(kind: str) -> JsonSchemaValue:
    raise refusal(
        f"a dict with keys of type {kind}", "a grammar cannot restrict the names of JSON properties to such keys"
    )
