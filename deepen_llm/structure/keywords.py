"""Every keyword of JSON Schema, and of what OpenAPI and earlier drafts add to it: what is done with each.

The table in docs/structure.md has the same rows; a test compares them.
"""

from __future__ import annotations

import difflib
from enum import Enum


class Treatment(Enum):
    """What is done with a keyword."""

    HELD = "held by the grammar as it is"
    REWRITTEN = "rewritten, exactly or to something narrower, into what the grammar holds; else refused by name"
    ANNOTATION = "an annotation, by its standard: says nothing about which values are valid"
    REFUSED = "refused by name"


_ROWS = {
    Treatment.HELD: """type enum const allOf anyOf $ref $defs definitions properties required additionalProperties
        items prefixItems minItems maxItems minLength maxLength""",
    Treatment.REWRITTEN: """oneOf not pattern patternProperties propertyNames minProperties maxProperties
        dependentRequired dependentSchemas dependencies unevaluatedProperties unevaluatedItems contains minContains
        maxContains uniqueItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf format nullable
        discriminator additionalItems $anchor $id $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor""",
    Treatment.ANNOTATION: """title description default examples deprecated readOnly writeOnly $comment $schema
        $vocabulary contentEncoding contentMediaType contentSchema example xml externalDocs id""",
    Treatment.REFUSED: "if then else",
}
TABLE: dict[str, Treatment] = {key: treatment for treatment, row in _ROWS.items() for key in row.split()}
"""The treatment of each keyword."""

_ASSERTING = sorted(key for key, treatment in TABLE.items() if treatment is not Treatment.ANNOTATION)
_SAID = {"".join(filter(str.isalnum, key)).lower() for key in TABLE if TABLE[key] is Treatment.ANNOTATION}
_NEAR = 0.82


def misspelled(key: str) -> str | None:
    """The keyword that a key must be a misspelling of; None where it is an annotation.

    Any key is an annotation by the standard, so schemas carry ``example``, ``x-order``, ``placeholder`` and the like.
    But one that is nearly a keyword which restricts values, such as ``minLenght`` or ``min_length``, would silently
    hold nothing. Annotations in another casing or number, such as ``readonly`` and ``titles``, are fine.

    Args:
        key: A key of a schema.
    """
    if key in TABLE or key.lower().startswith(("x-", "~")):
        return None
    plain = "".join(filter(str.isalnum, key)).lower()
    if plain in _SAID or plain.removesuffix("s") in _SAID or f"{plain}s" in _SAID:
        return None
    for keyword in _ASSERTING:
        if plain == keyword.strip("$").lower():
            return keyword
    near = difflib.get_close_matches(key, _ASSERTING, n=1, cutoff=_NEAR)
    return near[0] if near else None
