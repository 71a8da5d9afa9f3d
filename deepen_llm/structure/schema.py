"""JSON schemas as grammars can hold answers to them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from deepen_llm.errors import ConfigError

# llguidance's own; it refuses all others
_FORMATS = frozenset(["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"])
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_NESTED = ("items", "prefixItems", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_CHOICES = ("anyOf", "oneOf")
_COMPOSED = ("allOf", *_CHOICES, "$ref", "if")  # beside these, other schemas may name further properties
_MEMBERS = ("properties", "patternProperties", "required", "additionalProperties")  # what an object may hold
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_EXACT = 2**53
_KEYWORDS = frozenset(
    """$anchor $defs $id $ref $schema additionalProperties allOf anyOf const contains default definitions
    dependentRequired dependentSchemas deprecated description discriminator else enum examples exclusiveMaximum
    exclusiveMinimum format if items maxContains maxItems maxLength maxProperties maximum minContains minItems minLength
    minProperties minimum multipleOf not nullable oneOf pattern patternProperties prefixItems properties propertyNames
    readOnly required then title type unevaluatedItems unevaluatedProperties uniqueItems writeOnly
    """.split()  # noqa: SIM905 (readable as one text)
)


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what is no more than an annotation, and with no properties but those that it names.

    Objects are closed wherever the schema leaves them open, but for those that several schemas describe together
    (``allOf``, ``$ref`` beside ``properties`` and the like), and those that demand properties which they do not name.

    Args:
        schema: A JSON schema; it is left as it is.

    Raises:
        ConfigError: It is no JSON or no schema, misspells a keyword, or has a bound that no grammar can hold exactly.
    """
    try:
        made: dict[str, Any] = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema cannot be written as JSON: {error}", hint="give plain JSON values") from error
    if made and not _KEYWORDS & set(made):
        raise ConfigError(
            f"{made!s:.120} is no JSON schema: it has none of its keywords",
            hint="give one like {'type': 'object', 'properties': {...}, 'required': [...]}",
        )
    shared = _Shared(made)
    for one in _within(made):
        _check_keywords(one)
        _strip(one)
        _check_bounds(one)
        if "properties" in one and id(one) not in shared.places and _names_all(one):
            one.setdefault("additionalProperties", False)
    return made


def _check_keywords(schema: Mapping[str, Any]) -> None:
    """Other keys are annotations, but one that is nearly a keyword would silently hold nothing."""
    for key in set(schema) - _KEYWORDS:
        if near := difflib.get_close_matches(key, _KEYWORDS, n=1, cutoff=0.85):
            raise ConfigError(
                f"unknown keyword {key!r} in a JSON schema, did you mean {near[0]!r}?",
                hint="correct it, or prefix an annotation of your own with x-",
            )


def _strip(schema: dict[str, Any]) -> None:
    """Take out annotations that llguidance refuses, and take for an object what tells its properties."""
    if "properties" in schema and not any(key in schema for key in ("type", *_COMPOSED)):
        schema["type"] = "object"
    if schema.get("format", "uri") not in _FORMATS:
        del schema["format"]
    if schema.get("uniqueItems") is False:
        del schema["uniqueItems"]


def _check_bounds(schema: dict[str, Any]) -> None:
    for key in _BOUNDS:
        bound = schema.get(key)
        whole = isinstance(bound, int) or schema.get("type") == "integer"
        if whole and isinstance(bound, int | float) and abs(bound) > _EXACT:
            raise ConfigError(
                f"the bound {key}={bound} of an integer is beyond ±2^53, where grammars round",
                hint="leave the bound out and check it in a validator, or ask for a string with a pattern",
            )


def _names_all(schema: Mapping[str, Any]) -> bool:
    named, demanded = schema["properties"], schema.get("required") or ()
    return not any(key in schema for key in _COMPOSED) and set(demanded) <= set(named)


def _within(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all schemas inside it."""
    if isinstance(schema, dict):
        yield schema
        for inner in _inside(schema):
            yield from _within(inner)


def _inside(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key in _NAMED:
        if isinstance(named := schema.get(key), dict):
            yield from named.values()
    for key in (*_NESTED, *_CHOICES, "allOf"):
        nested = schema.get(key)
        yield from nested if isinstance(nested, list) else [nested]


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
        for schema in list(_within(root)):
            parts = list(self._parts(schema))
            several = len(parts) > 1 or len(schema.get("allOf") or ()) > 1
            if several or any(key in schema for key in _MEMBERS):
                for part in parts:
                    self._mark(part)

    def _parts(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """What describes the same value as a schema does."""
        yield from (schema[key] for key in (*_CHOICES, "allOf", "if", "then", "else", "not") if key in schema)
        if isinstance(reference := schema.get("$ref"), str):
            yield self._referred(reference)

    def _mark(self, part: Any) -> None:
        for schema in part if isinstance(part, list) else [part]:
            for one in list(_within(schema)):
                if id(one) not in self.places:
                    self.places.add(id(one))
                    self._mark(self._referred(one.get("$ref")))

    def _referred(self, reference: Any) -> Any:
        """What a reference within the schema names; None where it leads elsewhere."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found
