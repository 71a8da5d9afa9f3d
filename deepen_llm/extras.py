"""Optional packages: imports of the packages of this package's extras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from deepen_llm.errors import ConfigError


def require(module: str, extra: str) -> Any:
    """Import a module of one of this package's extras.

    Raises:
        ConfigError: The module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"expected the package {module.partition('.')[0]}, got: {error}", hint=f"pip install 'deepen-llm[{extra}]'"
        ) from error
