"""Parser of docstrings in Google's or Sphinx's style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_SECTION = re.compile(r"^(\w[\w ]*):[ \t]*$")  # Google's
_PARAMETERS = ("args", "arguments", "parameters", "params", "keyword args", "keyword arguments")
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX = re.compile(r"^[:@]param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")
_FIELD = re.compile(r"^[:@]\w+.*:")  # any other field of Sphinx


@dataclass(frozen=True)
class Docstring:
    """A docstring, in Google's style or Sphinx's.

    Attributes:
        summary: The text before the sections.
        parameters: The description of each parameter.
    """

    summary: str
    parameters: dict[str, str]

    @classmethod
    def of(cls, documented: Callable[..., Any]) -> Docstring:
        """Parse the docstring of a function; empty if it has none."""
        lines = (inspect.getdoc(documented) or "").splitlines()
        first = next((i for i, line in enumerate(lines) if _begins_section(line)), len(lines))
        described: dict[str, list[str]] = {}
        for name, text in _descriptions(lines[first:]):
            described.setdefault(name, []).append(text)
        parameters = {name: " ".join(filter(None, texts)) for name, texts in described.items()}
        return cls("\n".join(lines[:first]).strip(), parameters)


def _begins_section(line: str) -> bool:
    return _SECTION.match(line) is not None or _FIELD.match(line) is not None


def _descriptions(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each line of a parameter's description with the parameter's name."""
    inside, name, indent = False, "", 0
    for line in lines:
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if section := _SECTION.match(line):
            inside, name, indent = section[1].lower() in _PARAMETERS, "", 0
        elif match := _SPHINX.match(line):
            inside, name = False, match[1]
            yield name, match[2]
        elif _FIELD.match(line):
            inside, name = False, ""
        elif inside and text and (not name or depth <= indent) and (match := _GOOGLE.match(text)):
            name, indent = match[1], depth
            yield name, match[2]
        elif name and text:
            yield name, text
