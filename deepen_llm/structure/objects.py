"""Objects: which names they may have, how many, and which together."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import Place, at, within
from deepen_llm.structure.strings import name_pattern

COMPOSED = (
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "if",
    "dependentSchemas",
)  # beside these, others may name more properties
_MEMBERS = ("properties", "patternProperties", "required", "additionalProperties")
_CHOICES = 64
_OUT = "leave it out, or name the properties"


def hold_property_names(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Rewrite ``propertyNames`` in place: names from a list become properties, a pattern becomes ``patternProperties``.

    Args:
        schema: A schema.
        place: Where it stands.
        root: The whole schema.

    Raises:
        ConfigError: The names are told in a way that is neither.
    """
    names = _names(schema.pop("propertyNames", True), root)
    if names in (True, {}) or (isinstance(names, dict) and not set(names) - {"type", "title", "description"}):
        _check_string(names, place)
        return
    if names is False:
        schema["maxProperties"] = 0
        return
    rest = schema.pop("additionalProperties", True)
    listed = _listed(names)
    if listed is not None:
        _name(schema, listed, rest)
    elif "patternProperties" not in schema:
        pattern = _pattern(names, place)
        for name in schema.get("properties") or {}:
            if not _fits(pattern, name, place):
                schema["properties"][name] = False
        schema["patternProperties"] = {pattern: rest}
    else:
        raise place.refusal("propertyNames", "it cannot be held beside patternProperties", _OUT)
    schema["additionalProperties"] = False


def _names(names: Any, root: dict[str, Any]) -> Any:
    seen = 0
    while isinstance(names, dict) and isinstance(names.get("$ref"), str) and seen < len(root) + 99:
        names, seen = at(root, names["$ref"]), seen + 1
    parts: list[Any] = names.get("allOf") or [] if isinstance(names, dict) else []
    if len(parts) == 1 and not set(names) - {"allOf", "type"}:
        return _names(parts[0], root)
    return names


def _check_string(names: Any, place: Place) -> None:
    kinds = names.get("type", "string") if isinstance(names, dict) else "string"
    if "string" not in ([kinds] if isinstance(kinds, str) else kinds):
        raise place.refusal("propertyNames", f"names are strings, never of type {kinds!r}", _OUT)


def _listed(names: dict[str, Any]) -> list[str] | None:
    """The names that are allowed, where they are told one by one."""
    if "anyOf" in names and not set(names) - {"anyOf", "type", "title", "description"}:
        parts = [_listed(part) if isinstance(part, dict) else None for part in names["anyOf"]]
        return None if None in parts else [name for part in parts for name in part or ()]
    if not ("enum" in names or "const" in names) or set(names) & {"pattern", "minLength", "maxLength", "anyOf", "not"}:
        return None
    values = names["enum"] if isinstance(names.get("enum"), list) else [names.get("const")]
    return [value for value in values if isinstance(value, str)]


def _name(schema: dict[str, Any], listed: list[str], rest: Any) -> None:
    properties = schema.setdefault("properties", {})
    for name in properties:
        if name not in listed:
            properties[name] = False
    for name in listed:
        properties.setdefault(name, rest)
    schema.setdefault("type", "object")


def _pattern(names: dict[str, Any], place: Place) -> str:
    """The one pattern that names must match."""
    known = {"type", "title", "description", "pattern", "format", "minLength", "maxLength", "writeOnly"}
    patterns = [name_pattern(names["pattern"], "propertyNames", place)] if "pattern" in names else []
    if names.get("format") in PATTERNS and not patterns:  # beside a pattern, as zod writes both, it says the same
        patterns.append(name_pattern(PATTERNS[names["format"]], "propertyNames", place))
    least, most = names.get("minLength", 0), names.get("maxLength", "")
    if least or most != "":
        patterns.append(f"^[\\x{{0}}-\\x{{10FFFF}}]{{{least},{most}}}$")
    if set(names) - known or len(set(patterns)) > 1:
        raise place.refusal("propertyNames", "names can be told by one pattern or by a list, no more", _OUT)
    return patterns[0] if patterns else ""


def _fits(pattern: str, name: str, place: Place) -> bool:
    """Whether a name matches a pattern of the grammar library's dialect."""
    try:
        return re.search(_python(pattern), name) is not None
    except re.error as error:
        raise place.refusal("propertyNames", f"whether it allows {name!r} cannot be told", _OUT) from error


def _python(pattern: str) -> str:
    """A pattern of the grammar library's dialect in Python's."""
    return re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), pattern)


def hold_unevaluated(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Rewrite ``unevaluatedProperties`` in place, as ``additionalProperties`` beside all names that are told.

    Args:
        schema: A schema.
        place: Where it stands.
        root: The whole schema.

    Raises:
        ConfigError: Which names are told depends on the answer.
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
        reason = "which names are told depends on the alternative that an answer takes"
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


def close(root: dict[str, Any]) -> None:
    """Close the objects of a schema in place: they have no properties but those that it names.

    Left open are those that several schemas describe together, and those that demand properties which they do not name.

    Args:
        root: The whole schema.
    """
    shared = _Shared(root)
    for _, one in within(root):
        if "properties" in one and not any(key in one for key in ("type", *COMPOSED)):
            one["type"] = "object"
        if "properties" in one and id(one) not in shared.places and _names_all(one):
            one.setdefault("additionalProperties", False)


def _names_all(schema: dict[str, Any]) -> bool:
    named, demanded = schema["properties"], schema.get("required") or ()
    return not any(key in schema for key in COMPOSED) and set(demanded) <= set(named)


class _Shared:
    """The schemas that describe a value together with others, so that none knows all of its properties.

    Args:
        root: The whole schema.

    Attributes:
        places: Their ids as Python objects.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self.places: set[int] = set()
        self._root = root
        for _, schema in list(within(root)):
            parts = list(self._parts(schema))
            several = len(parts) > 1 or len(schema.get("allOf") or ()) > 1
            if several or any(key in schema for key in _MEMBERS):
                for part in parts:
                    self._mark(part)

    def _parts(self, schema: dict[str, Any]) -> Iterator[Any]:
        """What describes the same value as a schema does."""
        yield from (schema[key] for key in ("anyOf", "oneOf", "allOf", "if", "then", "else", "not") if key in schema)
        if isinstance(named := schema.get("dependentSchemas"), dict):
            yield list(named.values())
        if isinstance(reference := schema.get("$ref"), str):
            yield at(self._root, reference)

    def _mark(self, part: Any) -> None:
        for schema in part if isinstance(part, list) else [part]:
            for _, one in list(within(schema)):
                if id(one) not in self.places:
                    self.places.add(id(one))
                    if isinstance(reference := one.get("$ref"), str):
                        self._mark(at(self._root, reference))
