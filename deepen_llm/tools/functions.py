"""Conversion of a function's parameters to a type, from which the schema of its calls is made."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import getitem
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, PydanticUndefined, to_jsonable_python
from typing_extensions import NotRequired, TypedDict

from deepen_llm.errors import ConfigError
from deepen_llm.tools.docstrings import Docstring

_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", flags=re.IGNORECASE)  # as transformers has them in docstrings
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Signature:
    """The signature of a function for tool calls.

    Attributes:
        name: The name.
        description: The summary of its docstring.
        hints: The required and optional parameters as fields of a ``TypedDict``.
    """

    name: str
    description: str
    hints: dict[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """Read the signature of a function, a method, a partial function or a callable object.

        It leaves out parameters that a partial function binds, ``*args`` and ``**kwargs``.

        Raises:
            ConfigError: A parameter has no type hint, or one that cannot be resolved.
        """
        inner, bound = _unwrapped(function)
        name = getattr(inner, "__name__", type(inner).__name__)
        code = inner if hasattr(inner, "__name__") else type(inner).__call__
        doc = Docstring.of(code if code.__doc__ else inner)
        known = _hints(name, code)
        fields = {
            parameter.name: _field(name, parameter, known, doc.parameters.get(parameter.name))
            for parameter in _open_parameters(function, bound)
        }
        return cls(name, doc.summary, fields)

    @property
    def kind(self) -> Any:
        """The type of a call's arguments."""
        return TypedDict(self.name, self.hints)  # type: ignore[operator] # the functional form takes any mapping

    def only(self, parameter: str) -> Any:
        """Make the type of the arguments with one parameter only."""
        return TypedDict(self.name, {parameter: self.hints[parameter]})  # type: ignore[operator] # as above


def _unwrapped(function: Callable[..., Any]) -> tuple[Callable[..., Any], set[str]]:
    """Unwrap a partial function; return the function and the parameters bound by name."""
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound |= set(function.keywords)
        function = function.func
    return function, bound


def _open_parameters(function: Callable[..., Any], bound: set[str]) -> Iterator[inspect.Parameter]:
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        receiver = index == 0 and parameter.name in ("self", "cls") and parameter.annotation is inspect.Parameter.empty
        if parameter.kind not in _VARIADIC and parameter.name not in bound and not receiver:
            yield parameter


def _hints(name: str, code: Any) -> dict[str, Any]:
    try:
        return get_type_hints(code, include_extras=True)
    except Exception as error:  # a hint that is a string may raise any exception
        raise ConfigError(
            f"a type hint of the function {name} cannot be resolved: {error}",
            hint="use hints whose names its module defines, or describe the function by a pydantic model",
        ) from error


def _field(name: str, parameter: inspect.Parameter, hints: dict[str, Any], documented: str | None) -> Any:
    if parameter.name not in hints:
        raise ConfigError(
            f"parameter {parameter.name!r} of the function {name} has no type hint",
            hint="give it one, or describe the function by a pydantic model",
        )
    explicit = [parameter.default] if isinstance(parameter.default, FieldInfo) else []
    needed = parameter.default is inspect.Parameter.empty or bool(explicit and explicit[0].is_required())
    text, choices = _with_choices(documented or "")
    description = told_of(hints[parameter.name]) or text or None
    field = Field(description=description, json_schema_extra={**_default(parameter.default), **choices})
    described = getitem(Annotated, (hints[parameter.name], field, *explicit))
    return described if needed else NotRequired[described]


def told_of(hint: Any) -> str | None:
    """Find the description in a hint: ``Annotated[str, "The city."]``, ``Field(description=...)`` or ``Doc``."""
    if get_origin(hint) is not Annotated:
        return None
    texts = [getattr(item, "documentation", getattr(item, "description", item)) for item in get_args(hint)[1:]]
    return next((text for text in texts if isinstance(text, str)), None)


def _with_choices(text: str) -> tuple[str, dict[str, Any]]:
    """Split a parameter's description into its text and the choices at its end."""
    if (match := _CHOICES.search(text)) is None:
        return text, {}
    try:
        choices = json.loads(match[1])
    except ValueError as error:
        raise ConfigError(
            f"expected choices in JSON, got {text!r:.120}", hint='write them as (choices: ["tea", "coffee"])'
        ) from error
    return text[: match.start()].strip(), {"enum": choices}


def _default(default: Any) -> dict[str, Any]:
    value = default.default if isinstance(default, FieldInfo) else default
    if value is inspect.Parameter.empty or value is PydanticUndefined:
        return {}
    try:
        return {"default": to_jsonable_python(value)}
    except PydanticSerializationError:  # a default without a JSON form is left out
        return {}
