"""Base class of options: frozen, validated; an unknown name is an error that suggests the most similar known name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from deepen_llm.errors import ConfigError, suggestion


class Options(BaseModel):
    """Base class of a group of options.

    Raises:
        ConfigError: An option is unknown, or its value is invalid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            nested = [cause for detail in error.errors() if (cause := _nested(detail))]
            if nested:  # the error of nested options is more exact
                raise ConfigError(nested[0].message, hint=nested[0].hint) from None
            problems = [_problem(type(self), detail) for detail in error.errors() if not _is_consequence(detail, error)]
            unknown = any(detail["type"] == "extra_forbidden" for detail in error.errors())
            known = f"known options: {', '.join(type(self).model_fields)}"
            hint = (
                known
                if unknown
                else f"correct it; the documentation of {type(self).__name__} lists the values of each option"
            )
            raise ConfigError(f"{type(self).__name__}: {'; '.join(problems)}", hint=hint) from None


def _problem(kind: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"unknown option {path!r}{suggestion(path, kind.model_fields)}"
    if detail["type"] == "missing":
        return f"{path!r} is missing"
    value = f"{path}={detail['input']!r}: " if path else ""
    return value + (_expected(detail) or detail["msg"].removeprefix("Value error, "))


def _expected(detail: ErrorDetails) -> str | None:
    """The type that was expected, in words for Python and configuration files; None where pydantic's fit both."""
    match detail["type"]:
        case "tuple_type":
            return "Input should be a list"
        case "dict_type":
            return "Input should be a mapping"
        case "model_type":
            return f"Input should be a mapping of options, or of the class {detail['ctx']['class_name']}"
    return None


def _is_consequence(detail: ErrorDetails, error: ValidationError) -> bool:
    """Whether a list is reported as too short only because pydantic dropped an invalid item, which it reports too."""
    path = detail["loc"]
    depth = len(path)
    invalid = any(len(other["loc"]) > depth and other["loc"][:depth] == path for other in error.errors())
    return detail["type"] == "too_short" and invalid


def _nested(detail: ErrorDetails) -> ConfigError | None:
    error = detail.get("ctx", {}).get("error")
    return error if isinstance(error, ConfigError) else None
