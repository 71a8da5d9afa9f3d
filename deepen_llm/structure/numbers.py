"""Rewriting of numeric bounds: moved inward to bounds that grammars enforce exactly.

A grammar compares decimal digits, a parser compares the doubles that they round to. So with an excluded bound, numbers
get at most nine decimals, which cannot round to it, or the bound becomes the next double inside it; the 0 of
``exclusiveMinimum: 0`` becomes a small number.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

from deepen_llm.structure.assertions import listed_values, type_names
from deepen_llm.structure.paths import Location

_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_BOUNDS = (*_LOWER, *_UPPER)
_WHOLE = 10**18  # below 2^63, and exact as a double
_WIDE = 10.0**15  # larger doubles have few digits after the point
_FAR = 10**16  # replaces every larger number
_SMALL = 1e-30
_MIDDLE = 10**5
_DECIMAL = 1e-9
_STEP = 1e-6  # the least positive number without an upper bound below 1


def rewrite_bounds(schema: dict[str, Any], location: Location) -> None:
    """Rewrite a schema's bounds in place, so that every number of its grammar lies within them after parsing.

    Integers get at most 19 digits, since parsers limit their length; bounded numbers stay within ±10^15.

    Raises:
        ConfigError: No number that a grammar can write lies within the bounds.
    """
    types = type_names(schema, ())
    if "multipleOf" in schema:
        _check_multiple(schema, location)
    if "const" in schema or "enum" in schema:
        _check_values(schema, location)
        return
    if not any(key in schema for key in _BOUNDS) and "integer" not in types:
        return
    low, high = _bound(schema, _LOWER, location), _bound(schema, _UPPER, location)
    for key in _BOUNDS:
        schema.pop(key, None)
    if "integer" in types and "number" not in types:
        schema["minimum"], schema["maximum"] = _whole(low, high, location)
    elif low is not None or high is not None:
        _put(schema, low, high, location)


_Bound = tuple[Fraction, bool, str]  # value, whether it is excluded, its keyword


def _bound(schema: dict[str, Any], keys: tuple[str, str], location: Location) -> _Bound | None:
    """The tighter of an included and an excluded bound; draft 4 writes the latter as ``exclusiveMinimum: true``."""
    bounds: list[_Bound] = []
    plain, exclusive = (schema.get(key) for key in keys)
    strict = exclusive is True
    for key, value, excluded in ((keys[0], plain, strict), (keys[1], exclusive, True)):
        if value is None or (isinstance(value, bool) and key == keys[1]):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise location.refusal(key, f"expected a number, got {value!r:.40}", "give a number")
        bounds.append((Fraction(value), excluded, key))
    sign = 1 if keys is _LOWER else -1
    return max(bounds, key=lambda bound: (Fraction(sign * bound[0]), bound[1])) if bounds else None


def _whole(low: _Bound | None, high: _Bound | None, location: Location) -> tuple[int, int]:
    """The least and the greatest integer within the bounds."""
    least = -_WHOLE if low is None else math.floor(low[0]) + 1 if low[1] else math.ceil(low[0])
    most = _WHOLE if high is None else math.ceil(high[0]) - 1 if high[1] else math.floor(high[0])
    least, most = _inward(max(least, -_WHOLE), 1), _inward(min(most, _WHOLE), -1)
    if least > most:
        raise _empty(low, high, location, "no integer of up to 18 digits")
    return least, most


def _inward(bound: int, sign: Literal[1, -1]) -> int:
    """The nearest integer inside a bound that is exact as a double, the type of bounds in llguidance."""
    near = int(float(bound))
    return near if sign * near >= sign * bound else int(math.nextafter(float(bound), sign * math.inf))


def _put(schema: dict[str, Any], low: _Bound | None, high: _Bound | None, location: Location) -> None:
    least, most = _least(low, high), _greatest(low, high)
    if least > most:
        raise _empty(low, high, location, _lacking(low, high))
    kept = {"minimum": _short(least), "maximum": _short(most)}
    for key, bound in (("minimum", low), ("maximum", high)):
        if bound is not None and bound[1] and _plain(bound[0]) and most - least > _STEP:
            del kept[key]
            kept["exclusive" + key.capitalize()] = _short(float(bound[0]))
            schema.setdefault("multipleOf", _DECIMAL)
    schema |= kept


def _lacking(low: _Bound | None, high: _Bound | None) -> str:
    """Describe the missing numbers for bounds that contain none, for an error."""
    least, most = low[0] if low else Fraction(-_FAR), high[0] if high else Fraction(_FAR)
    if least > most or (least == most and any(bound and bound[1] for bound in (low, high))):
        return "no number"
    if least > _WIDE or most < -_WIDE:
        return "no number within ±10^15"
    if max(abs(least), abs(most)) <= _SMALL:
        return "no number of at least 10^-30 in size, nor 0,"
    return "no double-precision number"


def _plain(bound: Fraction) -> bool:
    """Whether a bound has nine decimals, and no other such number rounds to the same double."""
    return bound != 0 and abs(bound) <= _MIDDLE and abs(bound * 10**9 - round(bound * 10**9)) < Fraction(1, 1000)


def _least(low: _Bound | None, high: _Bound | None) -> float:
    if low is None:
        return -_WIDE
    value, excluded, _ = low
    if abs(value) < _SMALL and (value > 0 or (value == 0 and excluded)):
        return _tiny(high)
    if abs(value) < _SMALL:
        return 0.0 if value == 0 else -0.0
    return max(_step(value, excluded, math.inf), -_WIDE)


def _greatest(low: _Bound | None, high: _Bound | None) -> float:
    if high is None:
        return _WIDE
    mirrored = None if low is None else (-low[0], low[1], low[2])
    return -_least((-high[0], high[1], high[2]), mirrored)


def _step(value: Fraction, excluded: bool, direction: float) -> float:
    """The double nearest to a bound on its inner side."""
    near = float(max(Fraction(-_FAR), min(value, Fraction(_FAR))))
    return math.nextafter(near, direction) if Fraction(near) < value or (excluded and Fraction(near) == value) else near


def _tiny(high: _Bound | None) -> float:
    """A number above zero, well below the upper bound."""
    if high is None or high[0] >= 1:
        return _STEP
    if high[0] <= 0:
        return math.inf
    return max(10.0 ** (math.floor(math.log10(float(high[0]))) - 3), _SMALL)


def _short(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) <= _WIDE else value


def _empty(low: _Bound | None, high: _Bound | None, location: Location, none: str) -> Exception:
    named = [f"{bound[2]}={_format_number(bound[0])}" for bound in (low, high) if bound is not None]
    keyword = (high or low or (0, 0, "minimum"))[2]
    return location.refusal(str(keyword), f"{none} lies within {' and '.join(named)}", "widen the bounds")


def _format_number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else repr(float(value))


def _check_multiple(schema: dict[str, Any], location: Location) -> None:
    multiple = schema["multipleOf"]
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or multiple <= 0:
        raise location.refusal("multipleOf", f"expected a number above 0, got {multiple!r:.40}", "give one")


def _check_values(schema: dict[str, Any], location: Location) -> None:
    """Check that the listed integers are exact as doubles."""
    for value in listed_values(schema) or ():
        if isinstance(value, int) and abs(value) > 2**53:
            raise location.refusal(
                "const" if "const" in schema else "enum",
                f"the integer {value} is beyond ±2^53, where grammars round",
                "give it as a string",
            )
