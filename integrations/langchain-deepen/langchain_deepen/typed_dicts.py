"""Reads descriptions of a ``TypedDict``'s keys as LangChain writes them: behind the key's type."""

from __future__ import annotations

from operator import getitem
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field
from typing_extensions import NotRequired, ReadOnly, Required, TypedDict, is_typeddict

from deepen_llm.tools import Docstring, told_of

_NEW: Any = TypedDict  # type checkers allow no variables in the functional form
_ABOUT_KEYS = (Required, NotRequired, ReadOnly)


class _RecursiveError(Exception):
    """A recursive type, which cannot be rebuilt."""


def readable(kind: Any) -> Any:
    """The same type with descriptions of its keys, in a form that pydantic reads on every Python version.

    Descriptions are those of LangChain's ``Annotated[str, ..., "What it is."]``, of ``Annotated[str, "What it is."]``,
    and of the docstring's arguments. A recursive type is returned unchanged.

    Args:
        kind: Any type; one without a ``TypedDict`` is returned unchanged.
    """
    try:
        return _rebuilt(kind, ())
    except _RecursiveError:
        return kind


def _rebuilt(kind: Any, within: tuple[Any, ...]) -> Any:
    if is_typeddict(kind):
        return _of_keys(kind, within)
    args = get_args(kind)
    if not args or get_origin(kind) is Literal:
        return kind
    if get_origin(kind) is Annotated:
        return getitem(Annotated, (_rebuilt(args[0], within), *args[1:]))
    rebuilt = tuple(_rebuilt(one, within) for one in args)
    if rebuilt == args:
        return kind
    return getitem(Union if get_origin(kind) in (Union, UnionType) else get_origin(kind), rebuilt)


def _of_keys(kind: Any, within: tuple[Any, ...]) -> Any:
    if kind in within:
        raise _RecursiveError
    doc = Docstring.of(kind) if kind.__doc__ else Docstring("", {})
    hints = get_type_hints(kind, include_extras=True)
    keys = {key: _key(hint, doc.parameters.get(key), (*within, kind)) for key, hint in hints.items()}
    fields = {key: one if key in kind.__required_keys__ else NotRequired[one] for key, one in keys.items()}
    rebuilt = _NEW(kind.__name__, fields)
    rebuilt.__doc__ = doc.summary or None
    if hasattr(kind, "__pydantic_config__"):
        rebuilt.__pydantic_config__ = kind.__pydantic_config__
    return rebuilt


def _key(hint: Any, documented: str | None, within: tuple[Any, ...]) -> Any:
    while get_origin(hint) in _ABOUT_KEYS:
        (hint,) = get_args(hint)
    beside = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    text = beside[1] if len(beside) > 1 and isinstance(beside[1], str) else documented or told_of(hint)
    rebuilt = _rebuilt(hint, within)
    return Annotated[rebuilt, Field(description=text)] if text else rebuilt
