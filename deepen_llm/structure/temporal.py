"""Schemas of dates, times and durations within bounds, from pydantic's core schemas."""

from __future__ import annotations

import datetime
from typing import Any

from pydantic.json_schema import JsonSchemaValue

from deepen_llm.errors import ConfigError
from deepen_llm.structure.formats import CLOCK, DATE, DAYS, DURATION, MOMENT, ZONE
from deepen_llm.structure.narrowing import BOUNDS, tightest

_DAY = datetime.timedelta(days=1)
_APART = 2 * _DAY  # more than the difference between any two zones
_EARLY = datetime.date(1970, 1, 2)  # pydantic 2.7 refuses earlier moments as past ones
_SECONDS = 10.0**13
_LISTED = 60
_Pattern = str
_HINT = "widen the bounds, or check them in a validator"


def date(core: dict[str, Any]) -> JsonSchemaValue:
    """Make the schema of a date.

    Raises:
        ConfigError: No date lies within the bounds.
    """
    low, high = _bounds(core, _DAY)
    low, high = _from_now(core, low, high)
    return _text(DATE if low is None and high is None else _days(low, high))


def moment(core: dict[str, Any]) -> JsonSchemaValue:
    """Make the schema of a date and a time, two days within its bounds, so that they hold in every zone.

    Raises:
        ConfigError: The bounds are too close.
    """
    bounds = [core[key] for key in BOUNDS if core.get(key) is not None]
    constraint = core.get("tz_constraint")
    zone = "" if constraint == "naive" or any(bound.tzinfo is None for bound in bounds) else ZONE
    if isinstance(constraint, int):
        zone = _offset(constraint)
    low, high = (None if bound is None else bound.date() for bound in _bounds(core, datetime.timedelta(0)))
    low = None if low is None else low + _APART
    high = None if high is None else high - _APART
    low, high = _from_now(core, low, high)
    return _text(MOMENT + zone if low is None and high is None else f"{_days(low, high)}T{CLOCK}{zone}")


def clock(core: dict[str, Any]) -> JsonSchemaValue:
    """Make the schema of a time of day; with bounds, of the whole hours between them.

    Raises:
        ConfigError: No whole hour lies between the bounds.
    """
    bounds = [core[key] for key in BOUNDS if core.get(key) is not None]
    if not bounds:
        return _text(CLOCK + ("" if core.get("tz_constraint") == "naive" else ZONE))
    low = max((core[key] for key in ("ge", "gt") if core.get(key) is not None), default=None)
    high = min((core[key] for key in ("le", "lt") if core.get(key) is not None), default=None)
    hours = range(0 if low is None else low.hour + 1, 24 if high is None else high.hour)
    if not hours:
        raise ConfigError(f"a time from {low} to {high} is not supported: no whole hour lies between", hint=_HINT)
    zone = "" if bounds[0].tzinfo is None else "Z"
    return _text(f"(?:{'|'.join(f'{hour:02}' for hour in hours)}){CLOCK.partition(')')[2]}{zone}")


def duration(core: dict[str, Any]) -> JsonSchemaValue:
    """Make the schema of a duration; with bounds, as a number of seconds.

    Raises:
        ConfigError: It is strict, which allows only texts, and has bounds.
    """
    bounds = {name: core[key].total_seconds() for key, name in BOUNDS.items() if core.get(key) is not None}
    if not bounds:
        return _text(DURATION)
    if core.get("strict"):
        raise ConfigError("a strict timedelta with bounds is not supported: its texts have no order", hint=_HINT)
    return {"type": "number", **tightest({"minimum": -_SECONDS, "maximum": _SECONDS}, bounds)}


def _text(pattern: _Pattern) -> JsonSchemaValue:
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


def _bounds(core: dict[str, Any], step: datetime.timedelta) -> tuple[Any, Any]:
    """The least and the greatest value, both included."""
    lows = [core[key] + (step if key == "gt" else 0 * step) for key in ("ge", "gt") if core.get(key) is not None]
    highs = [core[key] - (step if key == "lt" else 0 * step) for key in ("le", "lt") if core.get(key) is not None]
    return max(lows, default=None), min(highs, default=None)


def _from_now(
    core: dict[str, Any], low: datetime.date | None, high: datetime.date | None
) -> tuple[datetime.date | None, datetime.date | None]:
    """The least and the greatest day, restricted to the past or the future if the type requires it."""
    if core.get("now_op") == "past":
        return _most(low, _EARLY), _least(high, _today() - _APART)
    return (_most(low, _today() + _APART) if core.get("now_op") == "future" else low), high


def _least(day: datetime.date | None, limit: datetime.date) -> datetime.date:
    return limit if day is None else min(day, limit)


def _most(day: datetime.date | None, limit: datetime.date) -> datetime.date:
    return limit if day is None else max(day, limit)


def _days(low: datetime.date | None, high: datetime.date | None) -> _Pattern:
    """Make a pattern of days within bounds: of the whole years between them, else a list of the first days."""
    low, high = low or datetime.date(2, 1, 1), high or datetime.date(9998, 12, 31)
    first = low.year if (low.month, low.day) == (1, 1) else low.year + 1
    last = high.year if (high.month, high.day) == (12, 31) else high.year - 1
    if first <= last:
        return f"(?:{_between(f'{first:04}', f'{last:04}')})-{DAYS}"
    if low > high:
        raise ConfigError(f"a day from {low} to {high} is not supported: there is none", hint=_HINT)
    count = min((high - low).days + 1, _LISTED)
    return "(?:" + "|".join(str(low + index * _DAY) for index in range(count)) + ")"


def _between(low: str, high: str) -> _Pattern:
    """Make a pattern of the numbers between two numbers of equally many digits."""
    if not low:
        return ""
    if low[0] == high[0]:
        return low[0] + _between(low[1:], high[1:])
    rest = len(low) - 1
    parts = [f"{low[0]}(?:{_between(low[1:], '9' * rest)})", f"{high[0]}(?:{_between('0' * rest, high[1:])})"]
    if int(low[0]) + 1 < int(high[0]):
        parts.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}]" + "[0-9]" * rest)
    return f"(?:{'|'.join(parts)})"


def _offset(seconds: int) -> _Pattern:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"[{'-' if seconds < 0 else '+'}]{hours:02}:{minutes:02}"
