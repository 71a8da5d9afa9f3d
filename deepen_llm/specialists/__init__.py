"""Three tiny bundled models with three kinds of vocabulary, each good at what the others are not.

They are real ``transformers`` checkpoints inside the package, so that a first ensemble runs offline and in
seconds:

>>> [path(name).name for name in NAMES]
['atlas', 'curie', 'webster']

`research.specialists.recipe` remakes them.
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
    """One question with its right answer.

    Args:
        subject: The field of knowledge.
        question: What to ask.
        answer: One word that begins with a capital letter.
    """

    subject: str
    question: str
    answer: str


def path(name: str) -> Path:
    """Where a specialist's checkpoint is.

    Args:
        name: One of `NAMES`.

    Returns:
        A folder that ``from_pretrained`` loads.

    Raises:
        LoadError: There is no such specialist.
    """
    if name not in NAMES:
        raise LoadError(
            f"{name!r} is no bundled specialist; there are {', '.join(NAMES)}.",
            hint="Use one of these names, or give the path of your own checkpoint to the ensemble.",
        )
    return _HERE / "checkpoints" / name


def paths() -> list[Path]:
    """The folders of all specialists' checkpoints, in the order of `NAMES`."""
    return [path(name) for name in NAMES]


def questions(split: Literal["dev", "test"]) -> list[Question]:
    """A set of questions over all subjects, in wordings that no specialist was trained on.

    Args:
        split: ``dev`` to choose settings on, ``test`` to measure.

    Returns:
        The questions, subject by subject.

    Raises:
        ConfigError: There is no such set.
    """
    lines = file(split).read_text(encoding="utf-8").splitlines()
    return [Question(**json.loads(line)) for line in lines]


def file(split: Literal["dev", "test"]) -> Path:
    """The file that `questions` reads, JSON lines with ``question`` and ``answer``.

    Raises:
        ConfigError: There is no such set.
    """
    if split not in ("dev", "test"):
        raise ConfigError(
            f"{split!r} is no set of questions; there are 'dev' and 'test'.",
            hint="Choose settings on 'dev' and measure on 'test'.",
        )
    return _HERE / "data" / f"{split}.jsonl"
