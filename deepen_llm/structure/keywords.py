"""Treatment of every keyword of JSON Schema, its earlier drafts and OpenAPI.

A test compares this table with docs/structure.md.
"""

from __future__ import annotations

from enum import Enum

from deepen_llm.errors import nearest


class Treatment(Enum):
    """The treatment of a keyword."""

    ENFORCED = "enforced by the grammar without change"
    REWRITTEN = (
        "rewritten, exactly or to something narrower, into what the grammar enforces; else an error names the keyword"
    )
    ANNOTATION = "an annotation, by its standard: it does not restrict values"
    REFUSED = "an error names the keyword"


_KEYWORDS = {
    Treatment.ENFORCED: """type enum const allOf anyOf $ref $defs definitions properties required additionalProperties
        items prefixItems minItems maxItems minLength maxLength""",
    Treatment.REWRITTEN: """oneOf not pattern patternProperties propertyNames minProperties maxProperties
        dependentRequired dependentSchemas dependencies unevaluatedProperties unevaluatedItems contains minContains
        maxContains uniqueItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf format nullable
        discriminator additionalItems $anchor $id $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor""",
    Treatment.ANNOTATION: """title description default examples deprecated readOnly writeOnly $comment $schema
        $vocabulary contentEncoding contentMediaType contentSchema example xml externalDocs id""",
    Treatment.REFUSED: "if then else",
}
TABLE: dict[str, Treatment] = {key: treatment for treatment, keys in _KEYWORDS.items() for key in keys.split()}
"""The treatment of each keyword."""

_ASSERTING = sorted(key for key, treatment in TABLE.items() if treatment is not Treatment.ANNOTATION)
_ANNOTATIONS = {"".join(filter(str.isalnum, key)).lower() for key in TABLE if TABLE[key] is Treatment.ANNOTATION}
_NEAR = 0.82  # similarity from which a key counts as a misspelling


def misspelled(key: str) -> str | None:
    """Find the keyword that a key misspells; None if the key is an annotation.

    By the standard any unknown key is an annotation, such as ``example``, ``x-order``, ``placeholder``. But a key that
    resembles a keyword which restricts values, such as ``minLenght`` or ``min_length``, would have no effect.
    Annotations in another casing or number, such as ``readonly`` and ``titles``, are accepted.
    """
    if key in TABLE or key.lower().startswith(("x-", "~")):
        return None
    plain = "".join(filter(str.isalnum, key)).lower()
    if plain in _ANNOTATIONS or plain.removesuffix("s") in _ANNOTATIONS or f"{plain}s" in _ANNOTATIONS:
        return None
    for keyword in _ASSERTING:
        if plain == keyword.strip("$").lower():
            return keyword
    return nearest(key, _ASSERTING, cutoff=_NEAR)
