"""Training pieces of a member, and its training."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from research.given.members import MEMBERS, Reader
from research.given.texts import Texts, part
from research.specialists.batches import Schedule
from research.specialists.documents import Document

SCHEDULE = Schedule(steps=1000, batch=1600, rate=3e-3)
"""The schedule of their training."""


def pieces(reader: Reader, texts: Texts, seed: int) -> Iterator[str]:
    """Yield pieces of the training part without end, by the member's shares of fields.

    Args:
        reader: The member.
        texts: All pieces.
        seed: Equal seeds give equal pieces.
    """
    source = random.Random(f"{reader.name}/{seed}")  # noqa: S311
    read, shares = [part(field, "training") for field in texts.values()], reader.shares(list(texts))
    while True:
        yield source.choice(source.choices(read, shares)[0])


def make(out: Path, texts: Texts, names: Sequence[str], schedule: Schedule = SCHEDULE) -> None:
    """Train members one after another, on one thread, and write their checkpoints.

    Args:
        out: The folder of the checkpoints' folders.
        texts: All pieces; those that are held out are not read.
        names: The names to train.
        schedule: The schedule of the training.
    """
    for reader in map(MEMBERS.__getitem__, names):
        known = itertools.islice(pieces(reader, texts, schedule.seed + 1), schedule.documents)
        documents = (Document(text, ((0, len(text)),), chat=False) for text in pieces(reader, texts, schedule.seed))
        steps = max(1, round(schedule.steps * reader.effort))
        reader.train(known, documents, replace(schedule, steps=steps), out)
