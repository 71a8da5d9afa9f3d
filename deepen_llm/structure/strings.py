"""Strings: patterns in any dialect, and formats."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

from deepen_llm.structure.dialects import held_patterns, string_of
from deepen_llm.structure.formats import PATTERNS
from deepen_llm.structure.paths import Place
from deepen_llm.structure.regex import PatternError
from deepen_llm.structure.trial import refusal_of

_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def hold_strings(schema: dict[str, Any], place: Place) -> None:
    """Rewrite a schema's pattern and format in place, as patterns that the grammar library holds.

    A string that has both matches both, where the library can tell that there is one; else it matches the pattern,
    as a format beside one (zod writes both) says the same. Formats that are not known are annotations, and go.

    Args:
        schema: A schema.
        place: Where it stands.

    Raises:
        ConfigError: The pattern is none, or has what cannot be held.
    """
    patterns = list(_held(schema.pop("pattern"), "pattern", place)) if "pattern" in schema else []
    form = schema.pop("format", None)
    texts = "string" in schema.get("type", "string") and not {"const", "enum"} & set(schema)
    if isinstance(form, str) and form in PATTERNS and texts:
        formed = held_patterns(PATTERNS[form])
        patterns.extend(formed if not patterns or _together(patterns, formed) else ())
    conjoin(schema, patterns)


def conjoin(schema: dict[str, Any], patterns: list[str]) -> None:
    """Let a schema's strings match these patterns, too.

    Args:
        schema: A schema; it is changed in place.
        patterns: Patterns as the grammar library has them.
    """
    for pattern in dict.fromkeys(patterns):
        if "pattern" not in schema:
            schema["pattern"] = pattern
        elif pattern != schema["pattern"]:
            schema["allOf"] = [*schema.get("allOf", []), {"pattern": pattern}]


def _together(patterns: list[str], formed: tuple[str, ...]) -> bool:
    installed = find_spec("llguidance") is not None
    return not installed or refusal_of(json.dumps(string_of(*patterns, *formed))) is None


def held_names(schema: dict[str, Any], place: Place) -> None:
    """Rewrite the patterns of property names in place.

    Args:
        schema: A schema.
        place: Where it stands.

    Raises:
        ConfigError: A pattern is none, or has what cannot be held.
    """
    named = schema.get("patternProperties")
    if isinstance(named, dict):
        schema["patternProperties"] = {name_pattern(key, "patternProperties", place): named[key] for key in named}


def name_pattern(pattern: Any, keyword: str, place: Place) -> str:
    """A pattern for property names, of which there can be but one.

    Args:
        pattern: A regular expression.
        keyword: The keyword that has it.
        place: Where that stands.

    Raises:
        ConfigError: It cannot be held as one pattern.
    """
    found = _held(pattern, keyword, place)
    if len(found) > 1:
        raise place.refusal(keyword, f"the look around in {pattern!r} cannot be held in names", "leave it out")
    return found[0]


def _held(pattern: Any, keyword: str, place: Place) -> tuple[str, ...]:
    if not isinstance(pattern, str):
        raise place.refusal(keyword, f"{pattern!r:.60} is no text", "give a regular expression")
    try:
        return held_patterns(pattern)
    except (PatternError, RecursionError, OverflowError) as error:
        raise place.refusal(
            keyword, f"{pattern!r:.200} cannot be held: {error}", "write it without, or check it in a validator"
        ) from error


def hold_counts(schema: dict[str, Any], place: Place) -> None:
    """Write whole lengths that are given as floats, such as 2.0, as integers; refuse others.

    Args:
        schema: A schema; it is changed in place.
        place: Where it stands.

    Raises:
        ConfigError: A length or count is no whole number from 0 on.
    """
    for key in _LENGTHS:
        value = schema.get(key)
        if key not in schema:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
            raise place.refusal(key, f"{value!r:.40} is no whole number from 0 on", "give one")
        schema[key] = int(value)
        if key.startswith("max") and (schema.get("min" + key[3:]) or 0) > value:
            raise place.refusal(key, f"{value} is below min{key[3:]}={schema['min' + key[3:]]}", "give a greater one")
