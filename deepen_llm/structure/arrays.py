"""Arrays: tuples, required and distinct items."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from deepen_llm.structure.paths import Place, at

_CHOICES = 256  # alternatives that distinct items may become


def hold_arrays(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Rewrite a schema's array keywords in place.

    Items as a list, as earlier drafts have them, become ``prefixItems``. A tuple is whole and has no further items
    unless the schema says so. Of ``contains``, the first items are those that it asks for.

    Args:
        schema: A schema.
        place: Where it stands.
        root: The whole schema.

    Raises:
        ConfigError: Items must be distinct, or differ from others, in a way that no grammar holds.
    """
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
    schema.pop("additionalItems", None)
    if "unevaluatedItems" in schema:
        _unevaluated(schema, place)
    size = len(schema.get("prefixItems") or ())
    if size and size >= schema.get("minItems", 0) and "items" not in schema and "allOf" not in schema:
        schema["items"] = False
        schema.setdefault("minItems", min(size, schema.get("maxItems", 2**31)))
    if "contains" in schema:
        _contain(schema, place)
    for key in ("minContains", "maxContains"):
        schema.pop(key, None)
    if schema.pop("uniqueItems", False) is True:
        _distinct(schema, place, root)


def _unevaluated(schema: dict[str, Any], place: Place) -> None:
    rest = schema.pop("unevaluatedItems")
    if any(key in schema for key in ("allOf", "anyOf", "oneOf", "$ref")) and rest not in ({}, True):
        raise place.refusal("unevaluatedItems", "it cannot be held beside other schemas", "give items in each of them")
    schema.setdefault("items", rest)


def _contain(schema: dict[str, Any], place: Place) -> None:
    """Let the first items be those that must be contained."""
    least = schema.get("minContains", 1)
    wanted = schema.pop("contains")
    if "maxContains" in schema:
        raise place.refusal("maxContains", "no grammar counts items of a kind", "leave it out")
    first = list(schema.get("prefixItems") or [])
    for index in range(least):
        known = first[index] if index < len(first) else schema.get("items", True)
        both = [one for one in (known, wanted) if one not in (True, {})]
        made = both[0] if len(both) == 1 else {"allOf": both} if both else True
        first[index : index + 1] = [made]
    if first:
        schema["prefixItems"] = first
        schema.setdefault("items", True)
        schema["minItems"] = max(schema.get("minItems", 0), least)


def _distinct(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Distinct items: at most one, or some of few values, which then come in their order."""
    most, items = schema.get("maxItems", 2**31), schema.get("items")
    if most <= 1 or ("prefixItems" in schema and items is False and len(schema["prefixItems"]) <= 1):
        return
    told = at(root, items["$ref"]) if isinstance(items, dict) and "$ref" in items else items
    values = _values(told) if "prefixItems" not in schema else None
    least = schema.get("minItems", 0)
    chosen = None if values is None else _chosen(values, least, most)
    if not chosen:
        raise place.refusal(
            "uniqueItems",
            "no grammar remembers the items written before",
            "leave it out and take duplicates away afterwards, or let the items be few values of an enum",
        )
    for key in ("items", "minItems", "maxItems"):
        schema.pop(key, None)
    schema["type"] = "array"
    made: dict[str, Any] = {"anyOf": [{"const": list(some)} for some in chosen]}
    if "anyOf" in schema:
        schema["allOf"] = [*schema.get("allOf", []), made]
    else:
        schema |= made


def _chosen(values: list[Any], least: int, most: int) -> list[tuple[Any, ...]]:
    """Values without repetition, in their order; of the larger numbers none where there would be too many."""
    chosen: list[tuple[Any, ...]] = []
    for count in range(least, min(most, len(values)) + 1):
        if len(chosen) + math.comb(len(values), count) > _CHOICES:
            break
        chosen.extend(itertools.combinations(values, count))
    return chosen


def _values(items: Any) -> list[Any] | None:
    """The values that an item may have, once each, where they are few and told."""
    if not isinstance(items, dict):
        return None
    if items.get("type") == "boolean" and set(items) <= {"type", "title", "description"}:
        return [False, True]
    if not ("enum" in items or "const" in items) or set(items) & {"allOf", "anyOf", "not", "pattern"}:
        return None
    values = items["enum"] if isinstance(items.get("enum"), list) else [items.get("const")]
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())
