"""YAML files of ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deepen_llm.errors import ConfigError


def read(file: str | Path) -> str:
    """Read the text of a file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return as_path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error


def parse(text: str, file: str | Path) -> dict[Any, Any]:
    """Parse the text of a file.

    Raises:
        ConfigError: It is no YAML mapping, or a mapping in it has a key twice.
    """
    try:
        fields = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise _unreadable(file, error) from error
    if not isinstance(fields, dict):
        raise ConfigError(
            f"the configuration {file} is no mapping", hint="begin it with 'members:' and a list of paths"
        )
    return fields


def dump(fields: Mapping[str, Any]) -> str:
    """Format the text of a file."""
    text: str = yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def write(file: str | Path, text: str) -> None:
    """Write a file.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        as_path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the configuration {file} cannot be written: {error}", hint="give a file to write to"
        ) from error


def as_path(file: str | Path) -> Path:
    """The path of a file.

    Raises:
        ConfigError: It is no path.
    """
    try:
        return Path(file)
    except TypeError as error:
        raise ConfigError(
            f"expected the path of a configuration file, got {file!r:.200}", hint="give a path as a string"
        ) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        seen = set[Any]()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes every text so that it is read unchanged: with PyYAML's choice of quotes, line separators are lost."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """A text; in double quotes, in which characters are escaped, if one of them is not printable."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


def _unreadable(file: str | Path, error: Exception) -> ConfigError:
    return ConfigError(f"the configuration {file} cannot be read: {error}", hint="give a readable YAML file")
