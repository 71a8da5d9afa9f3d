"""LangChain's way with ``TypedDict``: what stands beside a key's type describes it."""

from __future__ import annotations

from operator import getitem
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field
from typing_extensions import NotRequired, ReadOnly, Required, TypedDict, is_typeddict

from deepen_llm.tools import Docstring, told_of

_NEW: Any = TypedDict  # the functional form takes any mapping, which type checkers do not know
_ABOUT_KEYS = (Required, NotRequired, ReadOnly)


class _RecursiveError(Exception):
    """A type that holds itself, which cannot be made anew."""


def readable(kind: Any) -> Any:
    """The same type, with descriptions for its keys, and as pydantic reads it on every Python.

    Descriptions are those of LangChain's ``Annotated[str, ..., "What it is."]``, of ``Annotated[str, "What it is."]``,
    and of the docstring's arguments. A type that holds itself stays as it is.

    Args:
        kind: Any type; one that holds no ``TypedDict`` stays as it is.
    """
    try:
        return _made(kind, ())
    except _RecursiveError:
        return kind


def _made(kind: Any, within: tuple[Any, ...]) -> Any:
    if is_typeddict(kind):
        return _of_keys(kind, within)
    args = get_args(kind)
    if not args or get_origin(kind) is Literal:
        return kind
    if get_origin(kind) is Annotated:
        return getitem(Annotated, (_made(args[0], within), *args[1:]))
    made = tuple(_made(one, within) for one in args)
    if made == args:
        return kind
    return getitem(Union if get_origin(kind) in (Union, UnionType) else get_origin(kind), made)


def _of_keys(kind: Any, within: tuple[Any, ...]) -> Any:
    if kind in within:
        raise _RecursiveError
    doc = Docstring.of(kind) if kind.__doc__ else Docstring("", {})
    hints = get_type_hints(kind, include_extras=True)
    keys = {key: _key(hint, doc.parameters.get(key), (*within, kind)) for key, hint in hints.items()}
    fields = {key: one if key in kind.__required_keys__ else NotRequired[one] for key, one in keys.items()}
    made = _NEW(kind.__name__, fields)
    made.__doc__ = doc.summary or None
    if hasattr(kind, "__pydantic_config__"):
        made.__pydantic_config__ = kind.__pydantic_config__
    return made


def _key(hint: Any, told: str | None, within: tuple[Any, ...]) -> Any:
    while get_origin(hint) in _ABOUT_KEYS:
        (hint,) = get_args(hint)
    beside = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    text = beside[1] if len(beside) > 1 and isinstance(beside[1], str) else told or told_of(hint)
    made = _made(hint, within)
    return Annotated[made, Field(description=text)] if text else made
