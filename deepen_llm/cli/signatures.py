"""Commands whose options are the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def with_options(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the fields of ``kind`` options of a command, which gets them as its argument ``options``."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        types = get_type_hints(kind, include_extras=True)  # a field's type is named in the module of its class
        fields = inspect.signature(kind).parameters
        shared = {name: field.replace(annotation=types[name]) for name, field in fields.items()}
        own = inspect.signature(command, eval_str=True).parameters

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            command(options=kind(**{name: arguments.pop(name) for name in shared}), **arguments)

        groups = [shared.values() if name == "options" else [parameter] for name, parameter in own.items()]
        parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for group in groups for parameter in group]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return wrap
