"""Values of options: settings as ``NAME=VALUE``, and texts with escapes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"""\\([ntr\\"']|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})""")


def settings(pairs: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """Parse settings of the form ``NAME=VALUE``, with values as in a YAML file.

    Args:
        pairs: The values of the flag.
        flag: The flag, for errors.

    Raises:
        typer.BadParameter: A value is no such pair or no YAML, or a name is given twice.
    """
    import yaml

    by_name = dict[str, Any]()
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is no NAME=VALUE", param_hint=flag)
        if name in by_name:
            raise typer.BadParameter(f"{pair!r}: {name} is given twice", param_hint=flag)
        try:
            by_name[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(
                f"the value of {pair!r} cannot be read: write it as in YAML, such as 0.5, true or [1, 3]",
                param_hint=flag,
            ) from None
    return by_name


def unescaped(text: str) -> str:
    """Replace backslash escapes by their characters; other backslashes stay.

    Args:
        text: The text as it was typed.
    """
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1]) or chr(int(escape[1][1:], 16)), text)
