"""References inside a schema: all become pointers into it, and none leads outside, nowhere or round for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from deepen_llm.structure.paths import DEFINITIONS, Place, at, inside, within

_KEYS = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
_PLAIN = "#/%~!$&'()*+,;=:@-._"  # what a URI's fragment may have; names of generic types have brackets
_INLINE = "give the schema that it names under $defs, and refer to it as '#/$defs/...'"


def resolve(root: dict[str, Any]) -> None:
    """Rewrite the references of a schema in place, as JSON pointers.

    Args:
        root: The whole schema.

    Raises:
        ConfigError: A reference leads out of the schema, or to nothing in it.
    """
    known = dict(_targets(root))
    for place, schema in list(reachable(root, follow=False)):
        for key in _KEYS:
            if key in schema:
                schema["$ref"] = _pointer(schema.pop(key), key, place, root, known)
    for _, schema in within(root):
        for key in (*_ANCHORS, "$recursiveAnchor", "$id", "$schema"):
            if not isinstance(schema.get(key), dict):
                schema.pop(key, None)


def _targets(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What references may name besides pointers."""
    for place, schema in within(root):
        for key in _ANCHORS:
            if isinstance(name := schema.get(key), str):
                yield f"#{name}", place.pointer
        for key in ("$id", "id"):
            if isinstance(name := schema.get(key), str):
                yield name, place.pointer
                yield name.rsplit("/", 1)[-1], place.pointer


def _pointer(reference: Any, key: str, place: Place, root: dict[str, Any], known: dict[str, str]) -> str:
    if not isinstance(reference, str):
        raise place.refusal(key, f"{reference!r:.60} is no text", _INLINE)
    found = known.get(reference, reference)
    base, _, fragment = found.partition("#")
    if base and base in known:
        found = known[base] + fragment if fragment.startswith("/") else known.get(f"#{fragment}", known[base])
    if not found.startswith("#"):
        raise place.refusal(key, f"{reference!r} leads out of the schema, and nothing is fetched", _INLINE)
    if not isinstance(at(root, found), dict | bool) or not (found == "#" or found.startswith("#/")):
        raise place.refusal(key, f"{reference!r} names nothing in the schema", _INLINE)
    return "#" if found in {"#", "#/"} else quote(found, safe=_PLAIN)


def reachable(root: dict[str, Any], follow: bool = True) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The schemas that describe answers: those within the schema, and definitions where something refers to them.

    Args:
        root: The whole schema.
        follow: Whether definitions are left out that nothing refers to.
    """
    left: list[tuple[Place, Any]] = [(Place(), root)]
    seen: set[int] = set()
    while left:
        place, schema = left.pop(0)
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield place, schema
        for inner, one in inside(schema, place):
            if not (follow and len(inner.path) > 1 and inner.path[-2] in DEFINITIONS):
                left.append((inner, one))
        if follow and isinstance(reference := schema.get("$ref"), str):
            left.append((named(reference), at(root, reference)))


def named(reference: str) -> Place:
    """The place that a pointer names."""
    steps = (step.replace("~1", "/").replace("~0", "~") for step in reference[1:].split("/")[1:])
    return Place(tuple(int(step) if step.isdigit() else step for step in steps))


def check_ends(root: dict[str, Any]) -> None:
    """Refuse a schema with a part of which every answer would be endless, such as a tree whose nodes all have a child.

    Args:
        root: The whole schema.

    Raises:
        ConfigError: Something in it has no finite answer.
    """
    every = list(reachable(root))
    ending: set[int] = set()
    before = -1
    while before < len(ending):
        before = len(ending)
        ending |= {id(schema) for _, schema in every if _ends(schema, root, ending)}
    for place, schema in reversed(every):
        if "$ref" in schema and id(schema) not in ending:
            raise place.refusal(
                "$ref", "it leads back to itself, so that every answer would be endless", "let some level leave it out"
            )


def _ends(schema: Any, root: dict[str, Any], ending: set[int]) -> bool:
    """Whether a finite answer of a schema is known, given the schemas that are known to have one."""

    def known(one: Any) -> bool:
        return not isinstance(one, dict) or id(one) in ending

    if "$ref" in schema and not known(at(root, schema["$ref"])):
        return False
    if not all(map(known, schema.get("allOf") or ())):
        return False
    if any(schema.get(key) and not any(map(known, schema[key])) for key in ("anyOf", "oneOf")):
        return False
    types = schema.get("type")
    shapes = {"object": _object_ends, "array": _array_ends}
    types = [types] if isinstance(types, str) else types or ["any"]
    return any(one not in shapes or shapes[one](schema, known) for one in types)


def _object_ends(schema: dict[str, Any], known: Any) -> bool:
    properties = schema.get("properties") or {}
    return all(known(properties[name]) for name in schema.get("required") or () if name in properties)


def _array_ends(schema: dict[str, Any], known: Any) -> bool:
    least, first = schema.get("minItems") or 0, schema.get("prefixItems") or []
    rest = least <= len(first) or known(schema.get("items", True))
    return rest and all(map(known, first[:least]))
