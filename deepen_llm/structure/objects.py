"""Objects: how many properties they may have, and which together."""

from __future__ import annotations

import itertools
import math
from typing import Any

from deepen_llm.structure.paths import Place, at

_CHOICES = 64
_OUT = "leave it out, or name the properties"


def hold_unevaluated(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Rewrite ``unevaluatedProperties`` in place, as ``additionalProperties`` beside all names that it gives.

    Args:
        schema: A schema.
        place: Where it stands.
        root: The whole schema.

    Raises:
        ConfigError: Which names it gives depends on the answer.
    """
    rest = schema.pop("unevaluatedProperties", True)
    if rest in (True, {}):
        return
    names = _told(schema, place, root)
    properties = schema.get("properties") or {}
    schema["properties"] = {**dict.fromkeys(names, True), **properties} if names else properties
    schema.setdefault("additionalProperties", rest)


def _told(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> list[str]:
    if any(key in schema for key in ("anyOf", "oneOf", "if", "dependentSchemas")):
        reason = "which names it gives depends on the alternative that an answer takes"
        raise place.refusal("unevaluatedProperties", reason, "say additionalProperties in each alternative")
    parts = [*(schema.get("allOf") or ()), at(root, schema["$ref"]) if "$ref" in schema else True]
    found: list[str] = []
    for part in parts:
        if isinstance(part, dict):
            if "patternProperties" in part or "additionalProperties" in part:
                raise place.refusal("unevaluatedProperties", "a part of it tells names by other than a list", _OUT)
            found += [*(part.get("properties") or ()), *_told(part, place, root)]
    return found


def hold_dependents(schema: dict[str, Any], place: Place) -> None:
    """Rewrite in place what must come with a property: either it is not there, or the rest holds.

    Args:
        schema: A schema.
        place: Where it stands.

    Raises:
        ConfigError: The keyword's value is none of its kind.
    """
    parts: list[dict[str, Any]] = []
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        named = schema.pop(key, {})
        if not isinstance(named, dict):
            raise place.refusal(key, f"{named!r:.60} is no object", "give one by property names")
        for name, rest in named.items():
            demanded: Any = {"required": rest} if isinstance(rest, list) else rest
            parts.append({"anyOf": [{"properties": {name: False}}, demanded]})
    if parts:
        schema["allOf"] = [*schema.get("allOf", []), *parts]
        schema.setdefault("type", "object")


def hold_sizes(schema: dict[str, Any], place: Place) -> None:
    """Rewrite ``minProperties`` and ``maxProperties`` in place, where properties are optional: as alternatives.

    Args:
        schema: A schema.
        place: Where it stands.

    Raises:
        ConfigError: No grammar counts so; names that are free may come twice, which readers count once.
    """
    least, most = schema.get("minProperties") or 0, schema.get("maxProperties")
    if not least and most is None:
        return
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    optional = [name for name, one in properties.items() if name not in required and one is not False]
    free = schema.get("additionalProperties", True) is not False or schema.get("patternProperties")
    missing = least - len(required)
    if free and missing > 1 and not optional:
        raise place.refusal("minProperties", "names that are free may come twice, and then count once", _OUT)
    if not optional:
        return
    if free and most is not None:
        schema["additionalProperties"], free = False, False
        schema.pop("patternProperties", None)
    room = len(optional) if most is None else most - len(required)
    kept = _kept(optional, max(missing, 0), min(room, len(optional)))
    if room < 0 or not kept or (free and missing < 1 and most is not None):
        raise place.refusal("minProperties" if missing > 0 else "maxProperties", "no grammar counts so far", _OUT)
    for key in ("minProperties", "maxProperties"):
        schema.pop(key, None)
    if len(kept) == 1 and not kept[0]:
        return
    schema["allOf"] = [*schema.get("allOf", []), {"anyOf": kept}]


def _kept(optional: list[str], least: int, most: int) -> list[dict[str, Any]]:
    """Alternatives that have at least and at most so many of the optional properties."""
    if most >= len(optional):
        if math.comb(len(optional), least) > _CHOICES:
            return []
        return [{"required": list(some)} if some else {} for some in itertools.combinations(optional, least)]
    found: list[dict[str, Any]] = []
    for some in itertools.islice(itertools.combinations(optional, most), _CHOICES + 1):
        barred = {name: False for name in optional if name not in some}
        needed = itertools.islice(itertools.combinations(some, least), _CHOICES + 1)
        found.extend({"properties": barred, **({"required": list(names)} if names else {})} for names in needed)
    return found if len(found) <= _CHOICES else []
