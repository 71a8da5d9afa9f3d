"""Rewriting of JSON schemas for grammars: checked, rewritten and compiled before any model runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.arrays import rewrite_arrays
from deepen_llm.structure.choices import rewrite_not, rewrite_nullable, rewrite_one_of
from deepen_llm.structure.closed import close
from deepen_llm.structure.keywords import TABLE, Treatment, misspelled
from deepen_llm.structure.numbers import rewrite_bounds
from deepen_llm.structure.objects import rewrite_dependents, rewrite_sizes, rewrite_unevaluated
from deepen_llm.structure.paths import Location
from deepen_llm.structure.property_names import rewrite_property_names
from deepen_llm.structure.references import check_ends, reachable, resolve
from deepen_llm.structure.strings import rewrite_lengths, rewrite_name_patterns, rewrite_strings
from deepen_llm.structure.trial import check_compiles

_DROPPED = ("deprecated", "contentSchema", "$comment", "$vocabulary", "externalDocs", "xml")


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite a schema as one that grammars enforce; all its instances are instances of the original.

    `deepen_llm.structure.keywords` lists the treatment of each keyword. Open objects are closed, except for those that
    several schemas describe together (``allOf``, ``$ref`` beside ``properties`` and the like), and those that require
    properties without naming them. Rewriting the result changes nothing.

    Args:
        schema: A JSON schema of any draft, or of OpenAPI; it is not changed.

    Raises:
        ConfigError: It is no JSON or no schema, misspells a keyword, or a grammar cannot enforce it; the message names
            the property, its location and the keyword.
    """
    try:
        rewritten: dict[str, Any] = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema cannot be written as JSON: {error}", hint="give plain JSON values") from error
    if rewritten and not set(TABLE) & set(rewritten):
        raise ConfigError(
            f"expected a JSON schema, got {rewritten!s:.120} without any of its keywords",
            hint="give one like {'type': 'object', 'properties': {...}, 'required': [...]}",
        )
    rewritten.pop("x-guidance", None)  # options of llguidance, one of which makes it ignore unsupported keywords
    try:
        _rewrite(rewritten)
        check_compiles(rewritten)
    except RecursionError as error:
        raise ConfigError("the schema is nested too deeply", hint="nest less, or use $ref") from error
    return rewritten


def _rewrite(root: dict[str, Any]) -> None:
    """Rewrite a whole schema in place.

    The rewriting functions change one schema in place. They take its location, which errors name, and the whole schema
    where they follow references.
    """
    resolve(root)
    for location, schema in list(reachable(root)):
        _check_keys(schema, location)
        rewrite_nullable(schema)
    for location, schema in list(reachable(root)):
        rewrite_not(schema, location)
        rewrite_lengths(schema, location)
        rewrite_arrays(schema, location, root)
        rewrite_property_names(schema, location, root)
        rewrite_unevaluated(schema, location, root)
    for location, schema in list(reachable(root)):
        rewrite_bounds(schema, location)
        rewrite_strings(schema, location)
        rewrite_name_patterns(schema, location)
        rewrite_one_of(schema, location, root)
    close(root)
    for location, schema in list(reachable(root)):
        rewrite_sizes(schema, location)
        rewrite_dependents(schema, location)
    check_ends(root)


def _check_keys(schema: dict[str, Any], location: Location) -> None:
    """Raise for unsupported and misspelled keywords; remove annotations that llguidance refuses."""
    for key in list(schema):
        if TABLE.get(key) is Treatment.REFUSED and not (key == "else" and "if" not in schema):
            raise location.refusal(
                key, "a grammar cannot enforce conditions", "write the cases as alternatives of anyOf"
            )
        if near := misspelled(key):
            raise ConfigError(
                f"{location}: unknown keyword {key!r} in a JSON schema, did you mean {near!r}?",
                hint="correct it, or prefix an annotation of your own with x-",
            )
        if key in _DROPPED:
            del schema[key]
