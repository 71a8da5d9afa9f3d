"""Docstrings as the reference shows them: doctests as code, and `Name` of something exported as a link to its place."""

from __future__ import annotations

import re
from typing import Any

import griffe

_NAME = re.compile(r"(?<![`\[\w.])`(?:deepen_llm\.)?([A-Z]\w+)`(?![`\]\w])")
_DOCTEST = re.compile(r"^( *)>>> (?:.*\n?)+?(?=\n|\Z)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites the docstrings of every package that is read."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Rewrite them once all is read."""
        core = loader.modules_collection.members.get("deepen_llm", pkg)
        _rewrite(pkg, frozenset(map(str, core.exports or ())))


def _rewrite(found: griffe.Object, exported: frozenset[str]) -> None:
    def linked(name: re.Match[str]) -> str:
        return f"[`{name[1]}`][deepen_llm.{name[1]}]" if name[1] in exported else name[0]

    if found.docstring:
        found.docstring.value = _DOCTEST.sub(_fenced, _NAME.sub(linked, found.docstring.value))
    for member in found.members.values():
        if not isinstance(member, griffe.Alias):
            _rewrite(member, exported)


def _fenced(doctest: re.Match[str]) -> str:
    return f"{doctest[1]}```pycon\n{doctest[0].rstrip()}\n{doctest[1]}```\n"
