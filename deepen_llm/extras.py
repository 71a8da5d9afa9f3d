"""Packages that only some features need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from deepen_llm.errors import ConfigError


def require(module: str, extra: str) -> Any:
    """Import a module of one of this package's extras.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"this needs {module}, which cannot be imported: {error}", hint=f"pip install 'deepen-llm[{extra}]'"
        ) from error
