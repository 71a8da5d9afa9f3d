"""Rewriting of ``propertyNames``."""

from __future__ import annotations

import re
from typing import Any

from deepen_llm.structure.assertions import listed_values, type_names
from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import Location, resolve_pointer
from deepen_llm.structure.strings import name_pattern

_OUT = "leave it out, or name the properties"


def rewrite_property_names(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> None:
    """Rewrite ``propertyNames`` in place: names from a list become properties, a pattern becomes ``patternProperties``.

    Raises:
        ConfigError: The names are restricted in another way.
    """
    names = _names(schema.pop("propertyNames", True), root)
    if names in (True, {}) or (isinstance(names, dict) and not set(names) - {"type", "title", "description"}):
        _check_string(names, location)
        return
    if names is False:
        schema["maxProperties"] = 0
        return
    rest = schema.pop("additionalProperties", True)
    listed = _listed(names)
    if listed is not None:
        _name(schema, listed, rest)
    elif "patternProperties" not in schema:
        pattern = _pattern(names, location)
        for name in schema.get("properties") or {}:
            if not _fits(pattern, name, location):
                schema["properties"][name] = False
        schema["patternProperties"] = {pattern: rest}
    else:
        raise location.refusal("propertyNames", "a grammar cannot enforce it beside patternProperties", _OUT)
    schema["additionalProperties"] = False


def _names(names: Any, root: dict[str, Any]) -> Any:
    seen = 0
    while isinstance(names, dict) and isinstance(names.get("$ref"), str) and seen < len(root) + 99:
        names, seen = resolve_pointer(root, names["$ref"]), seen + 1
    parts: list[Any] = names.get("allOf") or [] if isinstance(names, dict) else []
    if len(parts) == 1 and not set(names) - {"allOf", "type"}:
        return _names(parts[0], root)
    return names


def _check_string(names: Any, location: Location) -> None:
    if isinstance(names, dict) and "string" not in type_names(names):
        raise location.refusal("propertyNames", f"names are strings, never of type {names['type']!r}", _OUT)


def _listed(names: dict[str, Any]) -> list[str] | None:
    """The allowed names, if the schema lists them; else None."""
    if "anyOf" in names and not set(names) - {"anyOf", "type", "title", "description"}:
        parts = [_listed(part) if isinstance(part, dict) else None for part in names["anyOf"]]
        return None if None in parts else [name for part in parts for name in part or ()]
    values = listed_values(names)
    if values is None or set(names) & {"pattern", "minLength", "maxLength", "anyOf", "not"}:
        return None
    return [value for value in values if isinstance(value, str)]


def _name(schema: dict[str, Any], listed: list[str], rest: Any) -> None:
    properties = schema.setdefault("properties", {})
    for name in properties:
        if name not in listed:
            properties[name] = False
    for name in listed:
        properties.setdefault(name, rest)
    schema.setdefault("type", "object")


def _pattern(names: dict[str, Any], location: Location) -> str:
    """The pattern that names must match."""
    known = {"type", "title", "description", "pattern", "format", "minLength", "maxLength", "writeOnly"}
    patterns = [name_pattern(names["pattern"], "propertyNames", location)] if "pattern" in names else []
    if names.get("format") in PATTERNS and not patterns:  # zod writes both, with the same meaning
        patterns.append(name_pattern(PATTERNS[names["format"]], "propertyNames", location))
    least, most = names.get("minLength", 0), names.get("maxLength", "")
    if least or most != "":
        patterns.append(f"^[\\x00-\\U0010FFFF]{{{least},{most}}}$")
    if set(names) - known or len(set(patterns)) > 1:
        raise location.refusal("propertyNames", "a grammar can restrict names by one pattern or a list only", _OUT)
    return patterns[0] if patterns else ""


def _fits(pattern: str, name: str, location: Location) -> bool:
    """Whether a name matches a pattern in the dialect of llguidance."""
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise location.refusal("propertyNames", f"whether it allows {name!r} is unknown", _OUT) from error
