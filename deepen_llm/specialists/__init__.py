"""Bundled specialists: three tiny models with three kinds of vocabulary, each trained on its own subjects.

They are ``transformers`` checkpoints inside the package, so that a first ensemble loads offline within seconds:

>>> [path(name).name for name in NAMES]
['atlas', 'curie', 'webster']

`research.specialists.recipe` trains them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepen_llm.errors import ConfigError, LoadError

NAMES = ("atlas", "curie", "webster")
"""The specialists: geography, science and words."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Question:
    """A question with its right answer.

    Args:
        subject: The field of knowledge.
        question: The text of the question.
        answer: One word that begins with a capital letter.
    """

    subject: str
    question: str
    answer: str


def path(name: str) -> Path:
    """The folder of a specialist's checkpoint.

    Args:
        name: One of `NAMES`.

    Returns:
        A folder that ``from_pretrained`` loads.

    Raises:
        LoadError: No specialist has this name.
    """
    if name not in NAMES:
        raise LoadError(
            f"expected a bundled specialist, one of {', '.join(NAMES)}, got {name!r}",
            hint="use one of these names, or give the path of your own checkpoint to the ensemble",
        )
    return _HERE / "checkpoints" / name


def paths() -> list[Path]:
    """The folders of all specialists' checkpoints, in the order of `NAMES`."""
    return [path(name) for name in NAMES]


def questions(split: Literal["dev", "test"]) -> list[Question]:
    """Read the questions of a split: all subjects, in wordings that no specialist was trained on.

    Args:
        split: ``dev`` to choose settings on, ``test`` to measure.

    Returns:
        The questions, subject by subject.

    Raises:
        ConfigError: The split is unknown.
    """
    lines = file(split).read_text(encoding="utf-8").splitlines()
    return [Question(**json.loads(line)) for line in lines]


def file(split: Literal["dev", "test"]) -> Path:
    """The file of a split's questions: JSON lines with ``subject``, ``question`` and ``answer``.

    Raises:
        ConfigError: The split is unknown.
    """
    if split not in ("dev", "test"):
        raise ConfigError(
            f"expected the split 'dev' or 'test', got {split!r}",
            hint="choose settings on 'dev' and measure on 'test'",
        )
    return _HERE / "data" / f"{split}.jsonl"
