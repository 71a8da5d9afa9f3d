"""Types and listed values of a schema, and the addition of further assertions to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TYPES = ("null", "boolean", "number", "string", "array", "object")


def type_names(schema: dict[str, Any], otherwise: Sequence[str] = TYPES) -> list[str]:
    """List the types that a schema names; `otherwise` if it names none."""
    named = schema.get("type")
    return [named] if isinstance(named, str) else list(named if isinstance(named, list) else otherwise)


def listed_values(schema: dict[str, Any]) -> list[Any] | None:
    """List the values that a schema allows by ``const`` or ``enum``; None if it has neither."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def add_parts(schema: dict[str, Any], *parts: dict[str, Any]) -> None:
    """Require that values match further schemas, in place."""
    schema["allOf"] = [*schema.get("allOf", []), *parts]


def add_alternatives(schema: dict[str, Any], options: list[Any]) -> None:
    """Require that values match one of several schemas, in place."""
    if "anyOf" in schema:
        add_parts(schema, {"anyOf": options})
    else:
        schema["anyOf"] = options
