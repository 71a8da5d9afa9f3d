"""A function's parameters as a type, so that its calls are held to the same schema as any answer of that type."""

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
    """What may be called, and with what.

    Attributes:
        name: Its name.
        description: What its docstring says.
        hints: Each parameter that a call must or may give, as a field of a ``TypedDict``.
    """

    name: str
    description: str
    hints: dict[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """The signature of a function, a method, a partial function or an object that can be called.

        Parameters that a partial function binds, ``*args`` and ``**kwargs`` are none of a call's.

        Raises:
            ConfigError: A parameter has no type hint, or one that cannot be resolved.
        """
        inner, bound = _unwrapped(function)
        name = getattr(inner, "__name__", type(inner).__name__)
        code = inner if hasattr(inner, "__name__") else type(inner).__call__
        doc = Docstring.of(code if code.__doc__ else inner)
        known = _hints(name, code)
        fields = {
            one.name: _field(name, one, known, doc.parameters.get(one.name)) for one in _given_by_calls(function, bound)
        }
        return cls(name, doc.summary, fields)

    @property
    def kind(self) -> Any:
        """The type of a call's arguments."""
        return TypedDict(self.name, self.hints)  # type: ignore[operator] # the functional form takes any mapping

    def only(self, parameter: str) -> Any:
        """The type of a call's arguments, were this parameter the only one."""
        return TypedDict(self.name, {parameter: self.hints[parameter]})  # type: ignore[operator] # as above


def _unwrapped(function: Callable[..., Any]) -> tuple[Callable[..., Any], set[str]]:
    """What a partial function calls in the end, and the parameters that it binds by name."""
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound |= set(function.keywords)
        function = function.func
    return function, bound


def _given_by_calls(function: Callable[..., Any], bound: set[str]) -> Iterator[inspect.Parameter]:
    for place, one in enumerate(inspect.signature(function).parameters.values()):
        receiver = place == 0 and one.name in ("self", "cls") and one.annotation is inspect.Parameter.empty
        if one.kind not in _VARIADIC and one.name not in bound and not receiver:
            yield one


def _hints(name: str, code: Any) -> dict[str, Any]:
    try:
        return get_type_hints(code, include_extras=True)
    except Exception as error:  # a hint written as a string may raise anything
        raise ConfigError(
            f"a type hint of the function {name} cannot be resolved: {error}",
            hint="give hints by names that its module has, or describe the function by a pydantic model",
        ) from error


def _field(name: str, one: inspect.Parameter, hints: dict[str, Any], told: str | None) -> Any:
    if one.name not in hints:
        raise ConfigError(
            f"parameter {one.name!r} of the function {name} has no type hint",
            hint="give it one, or describe the function by a pydantic model",
        )
    given = [one.default] if isinstance(one.default, FieldInfo) else []
    needed = one.default is inspect.Parameter.empty or bool(given and given[0].is_required())
    text, choices = _with_choices(told or "")
    said = told_of(hints[one.name]) or text or None
    about = Field(description=said, json_schema_extra={**_default(one.default), **choices})
    described = getitem(Annotated, (hints[one.name], about, *given))
    return described if needed else NotRequired[described]


def told_of(hint: Any) -> str | None:
    """What a hint says beside its type: ``Annotated[str, "The city."]``, ``Field(description=...)`` or ``Doc``."""
    if get_origin(hint) is not Annotated:
        return None
    texts = [getattr(one, "documentation", getattr(one, "description", one)) for one in get_args(hint)[1:]]
    return next((text for text in texts if isinstance(text, str)), None)


def _with_choices(text: str) -> tuple[str, dict[str, Any]]:
    """What a docstring says of a parameter, and the choices that it may end with."""
    if (found := _CHOICES.search(text)) is None:
        return text, {}
    try:
        choices = json.loads(found[1])
    except ValueError as error:
        raise ConfigError(
            f"the choices in {text!r:.120} are no JSON", hint='write them as (choices: ["tea", "coffee"])'
        ) from error
    return text[: found.start()].strip(), {"enum": choices}


def _default(default: Any) -> dict[str, Any]:
    value = default.default if isinstance(default, FieldInfo) else default
    if value is inspect.Parameter.empty or value is PydanticUndefined:
        return {}
    try:
        return {"default": to_jsonable_python(value)}
    except PydanticSerializationError:  # what JSON has no form for is nothing to tell a model
        return {}
