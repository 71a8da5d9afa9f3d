"""Closing of objects: no properties but those that the schema names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deepen_llm.structure.paths import resolve_pointer, subschemas

COMPOSED = (
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "if",
    "dependentSchemas",
)  # beside these, others may name more properties


_MEMBERS = ("properties", "patternProperties", "required", "additionalProperties")


def close(root: dict[str, Any]) -> None:
    """Close the objects of a schema in place: forbid properties that it does not name.

    Objects that several schemas describe together stay open, as do those that require properties without naming them.
    """
    shared = _Shared(root)
    for _, one in subschemas(root):
        if "properties" in one and not any(key in one for key in ("type", *COMPOSED)):
            one["type"] = "object"
        if "properties" in one and id(one) not in shared.ids and _names_all(one):
            one.setdefault("additionalProperties", False)


def _names_all(schema: dict[str, Any]) -> bool:
    required = schema.get("required") or ()
    return not any(key in schema for key in COMPOSED) and set(required) <= set(schema["properties"])


class _Shared:
    """The schemas that describe a value together with others, so that none names all of its properties.

    Args:
        root: The whole schema.

    Attributes:
        ids: Their ids as Python objects.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self.ids: set[int] = set()
        self._root = root
        for _, schema in list(subschemas(root)):
            parts = list(self._parts(schema))
            several = len(parts) > 1 or len(schema.get("allOf") or ()) > 1
            if several or any(key in schema for key in _MEMBERS):
                for part in parts:
                    self._mark(part)

    def _parts(self, schema: dict[str, Any]) -> Iterator[Any]:
        """The schemas that describe the same value as a schema."""
        yield from (schema[key] for key in ("anyOf", "oneOf", "allOf", "if", "then", "else", "not") if key in schema)
        if isinstance(named := schema.get("dependentSchemas"), dict):
            yield list(named.values())
        if isinstance(reference := schema.get("$ref"), str):
            yield resolve_pointer(self._root, reference)

    def _mark(self, part: Any) -> None:
        for schema in part if isinstance(part, list) else [part]:
            for _, one in list(subschemas(schema)):
                if id(one) not in self.ids:
                    self.ids.add(id(one))
                    if isinstance(reference := one.get("$ref"), str):
                        self._mark(resolve_pointer(self._root, reference))
