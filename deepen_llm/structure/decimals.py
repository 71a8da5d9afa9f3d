"""Schemas of decimals: numbers that doubles represent exactly, and texts for types without bounds."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from deepen_llm.structure.dialects import string_of
from deepen_llm.structure.narrowing import BOUNDS, tightest

_DIGITS = 15  # of a double
_PLACES = 9  # decimal places that llguidance supports in multipleOf


def decimal(core: dict[str, Any]) -> JsonSchemaValue:
    """Make the schema of a decimal, with no more digits and decimal places than its core schema allows."""
    bounds = {name: float(core[key]) for key, name in BOUNDS.items() if core.get(key) is not None}
    splits = _splits(core.get("max_digits"), core.get("decimal_places"))
    number = _number(core, splits, bounds)
    if bounds or core.get("multiple_of") is not None or splits[0][0] == 0:
        return number
    return {"anyOf": [number, string_of(f"^-?(?:{'|'.join(_text(*split) for split in splits)})$")]}


def _splits(digits: int | None, places: int | None) -> list[tuple[int, int]]:
    """The allowed numbers of digits before and after the point."""
    if digits is None:
        return [(_DIGITS, _PLACES if places is None else min(places, _PLACES))]
    digits = min(digits, _DIGITS)
    if places is not None:
        return [(max(digits - places, 0), min(places, _PLACES))]
    return [(digits - after, after) for after in range(min(digits, _PLACES + 1))]


def _number(core: dict[str, Any], splits: list[tuple[int, int]], bounds: dict[str, float]) -> JsonSchemaValue:
    reach = max(map(abs, bounds.values()), default=0)
    fitting = [split for split in splits[:3] if 10 ** split[0] > reach]
    before, after = fitting[-1] if fitting else splits[0]
    limited = core.get("max_digits") is not None or core.get("decimal_places") is not None
    step = 10.0**-after if after else 1
    most = float(10 ** min(before, _DIGITS - after if limited else _DIGITS)) - (step if limited else 0)
    number: JsonSchemaValue = {"type": "number", **tightest({"minimum": -most, "maximum": most}, bounds)}
    if core.get("multiple_of") is not None:
        number["multipleOf"] = float(core["multiple_of"])
        number |= {"allOf": [{"multipleOf": step}]} if limited else {}
    elif limited:
        number["multipleOf"] = step
    if before == 0:  # a 0 before the point counts as a digit
        low = number.pop("exclusiveMinimum", None)
        number["minimum"] = max(step, number.get("minimum", step), step if low is None else low + step)
    return number


def _text(before: int, after: int) -> str:
    return rf"(?:0|[1-9]\d{{0,{before - 1}}})" + (rf"(?:\.\d{{1,{after}}})?" if after else "")
