"""Fusion methods by the names that users give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.fusion import methods
from deepen_llm.fusion.base import FusionMethod


def by_name(module: object) -> dict[str, type[FusionMethod]]:
    """The fusion methods among the names of a module, by method name.

    Raises:
        ValueError: A method has no name, title or reference, or two methods have the same name.
    """
    kinds = dict[str, type[FusionMethod]]()
    for kind in vars(module).values():
        if not (isinstance(kind, type) and issubclass(kind, FusionMethod)):
            continue
        name = kind.model_fields["method"].default
        if not isinstance(name, str) or not kind.title or not kind.reference:
            raise ValueError(
                f"expected a default of method, a title and a reference in the fusion method {kind.__name__}, got "
                f"{name!r}, {kind.title!r} and {kind.reference!r}"
            )
        if kinds.setdefault(name, kind) is not kind:
            raise ValueError(
                f"expected one fusion method named {name!r}, got {kinds[name].__name__} and {kind.__name__}"
            )
    return kinds


METHODS: dict[str, type[FusionMethod]] = by_name(methods)
"""Every method by its name."""

DEFAULT: FusionMethod = methods.Surface()
"""The method of an ensemble that names none."""

STARTING_METHODS: tuple[str, ...] = tuple(name for name, kind in METHODS.items() if kind.starts)
"""The methods that `tune` tries where a search space names none: those with ``starts``."""


def method_class(name: object) -> type[FusionMethod]:
    """The fusion method of a name.

    Raises:
        ConfigError: No method has this name.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(
            f"unknown fusion method {name!r}{suggestion(name, METHODS)}",
            hint=f"known are {', '.join(METHODS)}; a method of your own is given as an object, not by its name",
        )
    return METHODS[name]


def named_method(setting: str | Mapping[str, Any]) -> FusionMethod:
    """The fusion method that a name, or a mapping with ``method`` and options, describes.

    Raises:
        ConfigError: No method has this name, or an option cannot be used.

    >>> named_method({"method": "deepen", "relr": 0.3}).relr
    0.3
    """
    options = {"method": setting} if isinstance(setting, str) else dict(setting)
    if "method" not in options:
        raise ConfigError(f"fusion={options!r} names no method", hint="add it, such as 'method': 'surface'")
    return method_class(options["method"])(**options)
