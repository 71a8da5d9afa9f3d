"""What a function's docstring says of it and of its parameters."""

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
_FIELD = re.compile(r"^[:@]\w+.*:")  # another of Sphinx's fields


@dataclass(frozen=True)
class Docstring:
    """A docstring, in Google's style or Sphinx's.

    Attributes:
        summary: All that stands before its sections.
        parameters: What is said of each parameter.
    """

    summary: str
    parameters: dict[str, str]

    @classmethod
    def of(cls, documented: Callable[..., Any]) -> Docstring:
        """The docstring of a function; an empty one where it has none."""
        lines = (inspect.getdoc(documented) or "").splitlines()
        first = next((i for i, line in enumerate(lines) if _begins_section(line)), len(lines))
        told: dict[str, list[str]] = {}
        for name, text in _said(lines[first:]):
            told.setdefault(name, []).append(text)
        parameters = {name: " ".join(filter(None, texts)) for name, texts in told.items()}
        return cls("\n".join(lines[:first]).strip(), parameters)


def _begins_section(line: str) -> bool:
    return _SECTION.match(line) is not None or _FIELD.match(line) is not None


def _said(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each parameter's name with a line of what is said of it."""
    inside, name, indent = False, "", 0
    for line in lines:
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if section := _SECTION.match(line):
            inside, name, indent = section[1].lower() in _PARAMETERS, "", 0
        elif found := _SPHINX.match(line):
            inside, name = False, found[1]
            yield name, found[2]
        elif _FIELD.match(line):
            inside, name = False, ""
        elif inside and text and (not name or depth <= indent) and (found := _GOOGLE.match(text)):
            name, indent = found[1], depth
            yield name, found[2]
        elif name and text:
            yield name, text
