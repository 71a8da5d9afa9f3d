"""Pieces of text by field, split into training, development and test parts."""

from __future__ import annotations

import ast
import hashlib
import json
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

from deepen_llm.errors import ConfigError
from research.given.problems import problems

Part = Literal["training", "development", "test"]
"""The parts: for training members, for choosing settings, and for reported results."""

PARTS: tuple[Part, ...] = ("training", "development", "test")
"""Every part."""

Texts = dict[str, list[str]]
"""Pieces by field."""

MATHEMATICS = "mathematics"
"""The field that has a member of its own in every set of texts."""

LENGTHS = range(40, 801)
"""How many characters a piece has: with more it would not fit a context window of the smallest vocabulary."""

_SHARE = 26  # of 256: the development pieces, and the test pieces
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}


def texts(folder: Path | None = None) -> Texts:
    """Read all pieces, of every field.

    Args:
        folder: Holds a file or a folder of files for each field: ``.jsonl``, a piece in each line as ``text``, or
            ``.txt``, with an empty line between pieces. Without it: word problems, and the chapters and docstrings
            that come with Python.

    Raises:
        ConfigError: There is no such text.
    """
    found = _own() if folder is None else _read(folder)
    kept = {field: sorted(filter(_fits, dict.fromkeys(pieces)), key=_digest) for field, pieces in found}
    if MATHEMATICS not in kept or len(kept) < 2 or not all(kept.values()):
        raise ConfigError(
            f"no pieces of {MATHEMATICS!r} and of another field in {folder}",
            hint=f"give .jsonl or .txt files, or folders of them; pieces have {LENGTHS[0]} to {LENGTHS[-1]} characters",
        )
    return kept


def part(pieces: Iterable[str], which: Part) -> list[str]:
    """Select the pieces of one part, in their order, by a hash of each piece.

    Args:
        pieces: All pieces.
        which: The part.
    """
    return [piece for piece in pieces if _part(piece) == which]


def _fits(piece: str) -> bool:
    return len(piece) in LENGTHS and " " in piece


def _part(piece: str) -> Part:
    place = _digest(piece)[-1]
    return "test" if place < _SHARE else "development" if place < 2 * _SHARE else "training"


def _digest(piece: str) -> bytes:
    return hashlib.sha256(piece.encode()).digest()


def _read(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for field in sorted(folder.iterdir()):
        files = sorted(field.rglob("*")) if field.is_dir() else [field]
        pieces = [piece for file in files for piece in _pieces(file)]
        if pieces:
            yield field.stem, pieces


def _pieces(file: Path) -> list[str]:
    if file.suffix not in (".jsonl", ".txt"):
        return []
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".txt":
        return _paragraphs(text)
    return [json.loads(line)["text"] for line in text.split("\n") if line]


def _paragraphs(text: str) -> list[str]:
    return [piece.strip() for piece in text.split("\n\n")]


def _own() -> Iterator[tuple[str, list[str]]]:
    yield "language", [piece for topic in topics.values() for piece in _paragraphs(topic)]
    yield "library", [piece for text in _docstrings() for piece in _paragraphs(text)]
    yield MATHEMATICS, list(problems(8000))


def _docstrings() -> Iterator[str]:
    """Collect the docstrings of Python's standard library."""
    home = Path(sysconfig.get_path("stdlib"))
    for file in sorted(home.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(file.relative_to(home).parts):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield ast.get_docstring(node) or ""
