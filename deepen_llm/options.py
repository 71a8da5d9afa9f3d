"""The base of everything that a user may set: frozen, checked, unknown keys refused with the nearest known one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from deepen_llm.errors import ConfigError, suggestion


class Options(BaseModel):
    """Options of one kind.

    Raises:
        ConfigError: An option is unknown, or its value cannot be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            nested = [one for detail in error.errors() if (one := _nested(detail))]
            if nested:  # options within these, which know more
                raise ConfigError(nested[0].message, hint=nested[0].hint) from None
            problems = [_problem(type(self), detail) for detail in error.errors() if not _follows(detail, error)]
            unknown = any(detail["type"] == "extra_forbidden" for detail in error.errors())
            known = f"known options: {', '.join(type(self).model_fields)}"
            hint = known if unknown else f"correct it; {type(self).__name__} tells what each option takes"
            raise ConfigError(f"{type(self).__name__}: {'; '.join(problems)}", hint=hint) from None


def _problem(kind: type[BaseModel], detail: ErrorDetails) -> str:
    place = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"unknown option {place!r}{suggestion(place, kind.model_fields)}"
    if detail["type"] == "missing":
        return f"{place!r} is missing"
    value = f"{place}={detail['input']!r}: " if place else ""
    return value + detail["msg"].removeprefix("Value error, ")


def _follows(detail: ErrorDetails, error: ValidationError) -> bool:
    """Whether this reports a list as too short because pydantic left out an invalid item, which it reports, too."""
    place, depth = detail["loc"], len(detail["loc"])
    within = [one for one in error.errors() if len(one["loc"]) > depth and one["loc"][:depth] == place]
    return detail["type"] == "too_short" and bool(within)


def _nested(detail: ErrorDetails) -> ConfigError | None:
    error = detail.get("ctx", {}).get("error")
    return error if isinstance(error, ConfigError) else None
