"""Rewriting of array keywords: tuples, contained items, distinct items."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from deepen_llm.structure.assertions import add_alternatives, listed_values
from deepen_llm.structure.paths import Location, resolve_pointer

_CHOICES = 256  # most alternatives for distinct items


def rewrite_arrays(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> None:
    """Rewrite a schema's array keywords in place.

    A list of ``items``, from earlier drafts, becomes ``prefixItems``. A tuple has all its items, and no further ones
    unless the schema allows them. The items that ``contains`` requires come first.

    Raises:
        ConfigError: A grammar cannot enforce the keyword.
    """
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
    schema.pop("additionalItems", None)
    if "unevaluatedItems" in schema:
        _unevaluated(schema, location)
    size = len(schema.get("prefixItems") or ())
    if size and size >= schema.get("minItems", 0) and "items" not in schema and "allOf" not in schema:
        schema["items"] = False
        schema.setdefault("minItems", min(size, schema.get("maxItems", 2**31)))
    if "contains" in schema:
        _contain(schema, location)
    for key in ("minContains", "maxContains"):
        schema.pop(key, None)
    if schema.pop("uniqueItems", False) is True:
        _distinct(schema, location, root)


def _unevaluated(schema: dict[str, Any], location: Location) -> None:
    rest = schema.pop("unevaluatedItems")
    if any(key in schema for key in ("allOf", "anyOf", "oneOf", "$ref")) and rest not in ({}, True):
        raise location.refusal(
            "unevaluatedItems", "a grammar cannot enforce it beside other schemas", "give items in each of them"
        )
    schema.setdefault("items", rest)


def _contain(schema: dict[str, Any], location: Location) -> None:
    """Require the contained items as the first ones."""
    least = schema.get("minContains", 1)
    wanted = schema.pop("contains")
    if "maxContains" in schema:
        raise location.refusal("maxContains", "a grammar cannot count the items that match a schema", "leave it out")
    first = list(schema.get("prefixItems") or [])
    for index in range(least):
        known = first[index] if index < len(first) else schema.get("items", True)
        demands = [schema for schema in (known, wanted) if schema not in (True, {})]
        item = demands[0] if len(demands) == 1 else {"allOf": demands} if demands else True
        first[index : index + 1] = [item]
    if first:
        schema["prefixItems"] = first
        schema.setdefault("items", True)
        schema["minItems"] = max(schema.get("minItems", 0), least)


def _distinct(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> None:
    """Enforce distinct items: allow at most one, or list the combinations of few values in a fixed order."""
    most, items = schema.get("maxItems", 2**31), schema.get("items")
    if most <= 1 or ("prefixItems" in schema and items is False and len(schema["prefixItems"]) <= 1):
        return
    definition = resolve_pointer(root, items["$ref"]) if isinstance(items, dict) and "$ref" in items else items
    values = _values(definition) if "prefixItems" not in schema else None
    least = schema.get("minItems", 0)
    chosen = None if values is None else _chosen(values, least, most)
    if not chosen:
        raise location.refusal(
            "uniqueItems",
            "a grammar cannot remember the items before",
            "leave it out and remove duplicates afterwards, or make the items an enum of few values",
        )
    for key in ("items", "minItems", "maxItems"):
        schema.pop(key, None)
    schema["type"] = "array"
    add_alternatives(schema, [{"const": list(items)} for items in chosen])


def _chosen(values: list[Any], least: int, most: int) -> list[tuple[Any, ...]]:
    """Combinations of values without repetition, in their order; larger ones are left out beyond the limit."""
    chosen: list[tuple[Any, ...]] = []
    for count in range(least, min(most, len(values)) + 1):
        if len(chosen) + math.comb(len(values), count) > _CHOICES:
            break
        chosen.extend(itertools.combinations(values, count))
    return chosen


def _values(items: Any) -> list[Any] | None:
    """The distinct values that an item may have, if the schema lists them; else None."""
    if not isinstance(items, dict):
        return None
    if items.get("type") == "boolean" and set(items) <= {"type", "title", "description"}:
        return [False, True]
    values = listed_values(items)
    if values is None or set(items) & {"allOf", "anyOf", "not", "pattern"}:
        return None
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())
