"""Narrowing of types' schemas: bounds, patterns and values that parse as the type."""

from __future__ import annotations

import json
import math
import re
import zoneinfo
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import SchemaValidator

from deepen_llm.errors import ConfigError

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""JSON Schema's keyword for each of pydantic's bounds."""
HINT = "use another type, or check it in a validator"


def demand_constants(option: JsonSchemaValue) -> None:
    """Require the constant properties of an alternative, so that the discriminator function recognizes it."""
    properties = option.get("properties") or {}
    known = [name for name, schema in properties.items() if "const" in schema or len(schema.get("enum", ())) == 1]
    option["required"] = list(dict.fromkeys([*option.get("required", ()), *known]))


def refusal(kind: str, reason: str) -> ConfigError:
    """Make the error for a type that is not supported."""
    return ConfigError(f"{kind} is not supported: {reason}", hint=HINT)


def readable(described: JsonSchemaValue, schema: Any, kind: str) -> JsonSchemaValue:
    """Keep the listed values of a type that parse back from JSON."""
    reader = SchemaValidator(schema)
    values = [described.pop("const")] if "const" in described else described.pop("enum")
    kept = []
    for value in values:
        try:
            reader.validate_json(json.dumps(value))
        except (ValidationError, TypeError, ValueError):
            continue
        kept.append(value)
    if not kept:
        raise refusal(kind, "none of its values parses back from JSON")
    return {"enum": kept, **described}


def zones() -> list[str]:
    """List the names of all installed time zones."""
    names = sorted(zoneinfo.available_timezones())
    if not names:
        raise refusal("ZoneInfo", "no time zones are installed; pip install tzdata")
    return names


def finite(schema: Any) -> Any:
    """Remove infinite bounds from a type's description."""
    return {key: value for key, value in schema.items() if value not in (math.inf, -math.inf)}


def tightest(wide: dict[str, float], bounds: dict[str, float]) -> dict[str, float]:
    """Combine bounds with wide ones, which replace missing bounds and bounds beyond them.

    Args:
        wide: A ``minimum`` and a ``maximum`` of equal absolute value.
        bounds: Bounds by JSON Schema's names.
    """
    most = wide["maximum"]
    lows = {key: value for key, value in bounds.items() if "inimum" in key and value >= -most}
    highs = {key: value for key, value in bounds.items() if "aximum" in key and value <= most}
    return {**(lows or {"minimum": -most}), **(highs or {"maximum": most})}


def flags_of(pattern: re.Pattern[str]) -> str:
    """Format a compiled pattern's flags as the prefix of a pattern."""
    flags = "".join(letter for letter, flag in (("i", re.I), ("s", re.S)) if pattern.flags & flag)
    if pattern.flags & (re.X | re.M):
        raise refusal(f"the pattern {pattern.pattern!r:.80}", "its flags X and M are not supported")
    return f"(?{flags})" if flags else ""


def check_alias(name: str, field: Any) -> None:
    """Raise for a field whose aliases are all paths."""
    alias = field.get("validation_alias")
    if isinstance(alias, list) and not any(
        isinstance(path, list) and len(path) == 1 and isinstance(path[0], str) for path in alias
    ):
        raise refusal(f"the field {name!r}, whose only alias is a path", "no single property sets it")
