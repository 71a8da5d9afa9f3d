"""Resolving of references: all become JSON pointers into the schema, and none is endless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from deepen_llm.structure.assertions import type_names
from deepen_llm.structure.paths import DEFINITIONS, Location, direct_subschemas, resolve_pointer, subschemas

_KEYS = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
_PLAIN = "#/%~!$&'()*+,;=:@-._"  # allowed in a URI's fragment; names of generic types have brackets
_INLINE = "give the schema that it names under $defs, and refer to it as '#/$defs/...'"


def resolve(root: dict[str, Any]) -> None:
    """Rewrite the references of a schema in place, as JSON pointers.

    Raises:
        ConfigError: A reference has no target in the schema.
    """
    known = dict(_targets(root))
    for location, schema in list(reachable(root, follow=False)):
        for key in _KEYS:
            if key in schema:
                schema["$ref"] = _pointer(schema.pop(key), key, location, root, known)
    for _, schema in subschemas(root):
        for key in (*_ANCHORS, "$recursiveAnchor", "$id", "$schema"):
            if not isinstance(schema.get(key), dict):
                schema.pop(key, None)


def _targets(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """List the anchors and ids that references may name, with their pointers."""
    for location, schema in subschemas(root):
        for key in _ANCHORS:
            if isinstance(name := schema.get(key), str):
                yield f"#{name}", location.pointer
        for key in ("$id", "id"):
            if isinstance(name := schema.get(key), str):
                yield name, location.pointer
                yield name.rsplit("/", 1)[-1], location.pointer


def _pointer(reference: Any, key: str, location: Location, root: dict[str, Any], known: dict[str, str]) -> str:
    if not isinstance(reference, str):
        raise location.refusal(key, f"expected a string, got {reference!r:.60}", _INLINE)
    target = known.get(reference, reference)
    base, _, fragment = target.partition("#")
    if base and base in known:
        target = known[base] + fragment if fragment.startswith("/") else known.get(f"#{fragment}", known[base])
    if not target.startswith("#"):
        raise location.refusal(key, f"{reference!r} leads out of the schema, and nothing is fetched", _INLINE)
    if not isinstance(resolve_pointer(root, target), dict | bool) or not (target == "#" or target.startswith("#/")):
        raise location.refusal(key, f"{reference!r} names nothing in the schema", _INLINE)
    return "#" if target in {"#", "#/"} else quote(target, safe=_PLAIN)


def reachable(root: dict[str, Any], follow: bool = True) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Iterate over the schemas that describe answers: those in the schema, and definitions with a reference to them.

    Args:
        root: The whole schema.
        follow: Whether to follow references, and to leave out other definitions.
    """
    left: list[tuple[Location, Any]] = [(Location(), root)]
    seen: set[int] = set()
    while left:
        location, schema = left.pop(0)
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield location, schema
        for inner_location, subschema in direct_subschemas(schema, location):
            if not (follow and len(inner_location.path) > 1 and inner_location.path[-2] in DEFINITIONS):
                left.append((inner_location, subschema))
        if follow and isinstance(reference := schema.get("$ref"), str):
            left.append((named(reference), resolve_pointer(root, reference)))


def named(reference: str) -> Location:
    """Convert a JSON pointer into a location."""
    steps = (step.replace("~1", "/").replace("~0", "~") for step in reference[1:].split("/")[1:])
    return Location(tuple(int(step) if step.isdigit() else step for step in steps))


def check_ends(root: dict[str, Any]) -> None:
    """Check that every part of a schema has a finite answer, unlike a tree whose nodes all require a child.

    Raises:
        ConfigError: A part has no finite answer.
    """
    every = list(reachable(root))
    ending: set[int] = set()
    before = -1
    while before < len(ending):
        before = len(ending)
        ending |= {id(schema) for _, schema in every if _ends(schema, root, ending)}
    for location, schema in reversed(every):
        if "$ref" in schema and id(schema) not in ending:
            raise location.refusal(
                "$ref",
                "it leads back to itself, so that every answer would be endless",
                "make it optional at some level",
            )


def _ends(schema: Any, root: dict[str, Any], ending: set[int]) -> bool:
    """Whether a schema has a finite answer, given the schemas that are known to have one."""

    def known(one: Any) -> bool:
        return not isinstance(one, dict) or id(one) in ending

    if "$ref" in schema and not known(resolve_pointer(root, schema["$ref"])):
        return False
    if not all(map(known, schema.get("allOf") or ())):
        return False
    if any(schema.get(key) and not any(map(known, schema[key])) for key in ("anyOf", "oneOf")):
        return False
    shapes = {"object": _object_ends, "array": _array_ends}
    types = type_names(schema, ()) or ["any"]
    return any(name not in shapes or shapes[name](schema, known) for name in types)


def _object_ends(schema: dict[str, Any], known: Any) -> bool:
    properties = schema.get("properties") or {}
    return all(known(properties[name]) for name in schema.get("required") or () if name in properties)


def _array_ends(schema: dict[str, Any], known: Any) -> bool:
    least, first = schema.get("minItems") or 0, schema.get("prefixItems") or []
    rest = least <= len(first) or known(schema.get("items", True))
    return rest and all(map(known, first[:least]))
