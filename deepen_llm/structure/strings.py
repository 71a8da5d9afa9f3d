"""Rewriting of string keywords: patterns of any dialect, and formats."""

from __future__ import annotations

import json
from typing import Any

from deepen_llm.structure.assertions import add_parts
from deepen_llm.structure.dialects import string_of, supported_patterns
from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import Location
from deepen_llm.structure.regex import PatternError
from deepen_llm.structure.trial import compile_error

_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def rewrite_strings(schema: dict[str, Any], location: Location) -> None:
    """Rewrite a schema's pattern and format in place, as patterns that llguidance supports.

    A string with both must match both, if llguidance finds such a string; else it must match the pattern, since a
    format beside a pattern (zod writes both) means the same. Unknown formats are annotations and are removed.

    Raises:
        ConfigError: The pattern is invalid or not supported.
    """
    patterns = list(_supported(schema.pop("pattern"), "pattern", location)) if "pattern" in schema else []
    form = schema.pop("format", None)
    texts = "string" in schema.get("type", "string") and not {"const", "enum"} & set(schema)
    if isinstance(form, str) and form in PATTERNS and texts:
        formed = supported_patterns(PATTERNS[form])
        patterns.extend(formed if not patterns or _satisfiable(patterns, formed) else ())
    conjoin(schema, patterns)


def conjoin(schema: dict[str, Any], patterns: list[str]) -> None:
    """Require a schema's strings to match patterns, in place.

    Args:
        schema: A schema.
        patterns: Patterns in the dialect of llguidance.
    """
    for pattern in dict.fromkeys(patterns):
        if "pattern" not in schema:
            schema["pattern"] = pattern
        elif pattern != schema["pattern"]:
            add_parts(schema, {"pattern": pattern})


def _satisfiable(patterns: list[str], formed: tuple[str, ...]) -> bool:
    return compile_error(json.dumps(string_of(*patterns, *formed))) is None


def rewrite_name_patterns(schema: dict[str, Any], location: Location) -> None:
    """Rewrite the patterns of property names in place.

    Raises:
        ConfigError: A pattern is invalid or not supported.
    """
    named = schema.get("patternProperties")
    if isinstance(named, dict):
        schema["patternProperties"] = {name_pattern(key, "patternProperties", location): named[key] for key in named}


def name_pattern(pattern: Any, keyword: str, location: Location) -> str:
    """Rewrite a pattern for property names, which allow only one.

    Args:
        pattern: A regular expression.
        keyword: The keyword of the pattern.
        location: The location of the schema.

    Raises:
        ConfigError: It cannot be rewritten as one pattern.
    """
    patterns = _supported(pattern, keyword, location)
    if len(patterns) > 1:
        raise location.refusal(keyword, f"the look-around in {pattern!r} is not supported in names", "leave it out")
    return patterns[0]


def _supported(pattern: Any, keyword: str, location: Location) -> tuple[str, ...]:
    if not isinstance(pattern, str):
        raise location.refusal(keyword, f"expected a string, got {pattern!r:.60}", "give a regular expression")
    try:
        return supported_patterns(pattern)
    except (PatternError, RecursionError, OverflowError) as error:
        raise location.refusal(
            keyword, f"{pattern!r:.200} is not supported: {error}", "write it without, or check it in a validator"
        ) from error


def rewrite_lengths(schema: dict[str, Any], location: Location) -> None:
    """Rewrite lengths that are whole floats, such as 2.0, in place as integers.

    Raises:
        ConfigError: A length is no whole number of at least 0.
    """
    for key in _LENGTHS:
        value = schema.get(key)
        if key not in schema:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
            raise location.refusal(key, f"expected a whole number of at least 0, got {value!r:.40}", "give one")
        schema[key] = int(value)
        if key.startswith("max") and (schema.get("min" + key[3:]) or 0) > value:
            raise location.refusal(
                key, f"{value} is below min{key[3:]}={schema['min' + key[3:]]}", "give a greater one"
            )
