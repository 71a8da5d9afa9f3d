"""Parts of types' schemas: bounds, patterns and values brought to what is read."""

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
"""Pydantic's bounds, and JSON Schema's."""
HINT = "ask for another type, or check it in a validator"


def demand_constants(option: JsonSchemaValue) -> None:
    """Let an alternative that a function tells apart write what makes it known, whether or not that has a default."""
    properties = option.get("properties") or {}
    known = [name for name, one in properties.items() if "const" in one or len(one.get("enum", ())) == 1]
    option["required"] = list(dict.fromkeys([*option.get("required", ()), *known]))


def refusal(kind: str, reason: str) -> ConfigError:
    """The error for a type that cannot be asked for."""
    return ConfigError(f"{kind} cannot be asked for: {reason}", hint=HINT)


def readable(made: JsonSchemaValue, schema: Any, kind: str) -> JsonSchemaValue:
    """Of the values that a type lists those that are read back."""
    reader = SchemaValidator(schema)
    given = [made.pop("const")] if "const" in made else made.pop("enum")
    kept = []
    for value in given:
        try:
            reader.validate_json(json.dumps(value))
        except (ValidationError, TypeError, ValueError):
            continue
        kept.append(value)
    if not kept:
        raise refusal(kind, "none of its values is read back from JSON")
    return {"enum": kept, **made}


def zones() -> list[str]:
    """The names of all time zones that are installed."""
    found = sorted(zoneinfo.available_timezones())
    if not found:
        raise refusal("ZoneInfo", "no time zones are installed; pip install tzdata")
    return found


def finite(schema: Any) -> Any:
    """A type's description without infinite bounds."""
    return {key: value for key, value in schema.items() if value not in (math.inf, -math.inf)}


def tightest(wide: dict[str, float], bounds: dict[str, float]) -> dict[str, float]:
    """Bounds where there are some, and within wide ones, which stand in for those that there are not.

    Args:
        wide: A ``minimum`` and a ``maximum`` that lie equally far from 0.
        bounds: Bounds by JSON Schema's names.
    """
    most = wide["maximum"]
    lows = {key: value for key, value in bounds.items() if "inimum" in key and value >= -most}
    highs = {key: value for key, value in bounds.items() if "aximum" in key and value <= most}
    return {**(lows or {"minimum": -most}), **(highs or {"maximum": most})}


def flags_of(pattern: re.Pattern[str]) -> str:
    """A compiled pattern's flags, as they begin a pattern."""
    flags = "".join(letter for letter, flag in (("i", re.I), ("s", re.S)) if pattern.flags & flag)
    if pattern.flags & (re.X | re.M):
        raise refusal(f"the pattern {pattern.pattern!r:.80}", "its flags X and M cannot be held")
    return f"(?{flags})" if flags else ""


def check_alias(name: str, field: Any) -> None:
    """Refuse a field that no property by one name is read as."""
    alias = field.get("validation_alias")
    if isinstance(alias, list) and not any(
        isinstance(path, list) and len(path) == 1 and isinstance(path[0], str) for path in alias
    ):
        raise refusal(f"the field {name!r}, whose only alias is a path", "no property by one name is read as it")
