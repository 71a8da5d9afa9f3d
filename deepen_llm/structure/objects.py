"""Rewriting of object keywords: numbers of properties, dependent and unevaluated properties."""

from __future__ import annotations

import itertools
import math
from typing import Any

from deepen_llm.structure.assertions import add_parts
from deepen_llm.structure.paths import Location, resolve_pointer

_CHOICES = 64
_OUT = "leave it out, or name the properties"


def rewrite_unevaluated(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> None:
    """Rewrite ``unevaluatedProperties`` in place, as ``additionalProperties`` and all names of the other keywords.

    Raises:
        ConfigError: The names depend on the answer.
    """
    rest = schema.pop("unevaluatedProperties", True)
    if rest in (True, {}):
        return
    names = _evaluated_names(schema, location, root)
    properties = schema.get("properties") or {}
    schema["properties"] = {**dict.fromkeys(names, True), **properties} if names else properties
    schema.setdefault("additionalProperties", rest)


def _evaluated_names(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> list[str]:
    if any(key in schema for key in ("anyOf", "oneOf", "if", "dependentSchemas")):
        reason = "its names depend on the alternative that an answer takes"
        raise location.refusal("unevaluatedProperties", reason, "set additionalProperties in each alternative")
    parts = [*(schema.get("allOf") or ()), resolve_pointer(root, schema["$ref"]) if "$ref" in schema else True]
    names: list[str] = []
    for part in parts:
        if isinstance(part, dict):
            if "patternProperties" in part or "additionalProperties" in part:
                raise location.refusal("unevaluatedProperties", "a part of it has names without a list", _OUT)
            names += [*(part.get("properties") or ()), *_evaluated_names(part, location, root)]
    return names


def rewrite_dependents(schema: dict[str, Any], location: Location) -> None:
    """Rewrite dependent keywords in place: either the property is absent, or its dependent schema applies.

    Raises:
        ConfigError: The keyword's value is no object.
    """
    parts: list[dict[str, Any]] = []
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        named = schema.pop(key, {})
        if not isinstance(named, dict):
            raise location.refusal(key, f"expected an object, got {named!r:.60}", "give one by property names")
        for name, rest in named.items():
            demanded: Any = {"required": rest} if isinstance(rest, list) else rest
            parts.append({"anyOf": [{"properties": {name: False}}, demanded]})
    if parts:
        add_parts(schema, *parts)
        schema.setdefault("type", "object")


def rewrite_sizes(schema: dict[str, Any], location: Location) -> None:
    """Rewrite ``minProperties`` and ``maxProperties`` in place, as alternatives of the optional properties.

    Raises:
        ConfigError: A grammar cannot count the properties; names without a list may repeat, which parsers count once.
    """
    least, most = schema.get("minProperties") or 0, schema.get("maxProperties")
    if not least and most is None:
        return
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    optional = [name for name, schema_ in properties.items() if name not in required and schema_ is not False]
    free = schema.get("additionalProperties", True) is not False or schema.get("patternProperties")
    missing = least - len(required)
    if free and missing > 1 and not optional:
        raise location.refusal("minProperties", "names without a list may repeat, and then count once", _OUT)
    if not optional:
        return
    if free and most is not None:
        schema["additionalProperties"], free = False, False
        schema.pop("patternProperties", None)
    room = len(optional) if most is None else most - len(required)
    kept = _kept(optional, max(missing, 0), min(room, len(optional)))
    if room < 0 or not kept or (free and missing < 1 and most is not None):
        raise location.refusal(
            "minProperties" if missing > 0 else "maxProperties", "a grammar cannot count so many properties", _OUT
        )
    for key in ("minProperties", "maxProperties"):
        schema.pop(key, None)
    if kept != [{}]:
        add_parts(schema, {"anyOf": kept})


def _kept(optional: list[str], least: int, most: int) -> list[dict[str, Any]]:
    """List the alternatives with a number of optional properties within bounds; none beyond the limit."""
    if most >= len(optional):
        if math.comb(len(optional), least) > _CHOICES:
            return []
        return [{"required": list(some)} if some else {} for some in itertools.combinations(optional, least)]
    alternatives: list[dict[str, Any]] = []
    for some in itertools.islice(itertools.combinations(optional, most), _CHOICES + 1):
        forbidden = {name: False for name in optional if name not in some}
        needed = itertools.islice(itertools.combinations(some, least), _CHOICES + 1)
        alternatives.extend(
            {"properties": forbidden, **({"required": list(names)} if names else {})} for names in needed
        )
    return alternatives if len(alternatives) <= _CHOICES else []
