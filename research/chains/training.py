"""Training documents of a member, and its training: long and short chains by its beliefs, and lists of names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deepen_llm.demo.long_answers.questions import drawn, is_asked
from deepen_llm.demo.long_answers.wordings import IN_SHORT, STEPS, question, shortened, worded
from deepen_llm.demo.long_answers.world import KINDS, invented, number, the_world
from research.chains.members import MEMBERS, Profile
from research.specialists.batches import Schedule
from research.specialists.documents import Document

SCHEDULE = Schedule(steps=1700, batch=1600, rate=3e-3)
"""The schedule of their training."""

OTHER = 0.15
"""How often a member reads another wording than its own."""

LISTS = 0.08
"""The share of lists of names and numbers that nobody else mentions: they teach to spell, and to copy."""

SHORT = 0.4
"""The share of short answers among the others: they teach facts, and which step comes next, in fewer tokens."""


def documents(profile: Profile, seed: int) -> Iterator[Document]:
    """Yield a member's training documents without end; none has a question of either set.

    Args:
        profile: The member.
        seed: Equal seeds give equal documents.
    """
    source, world = random.Random(f"{profile.name}/{seed}"), the_world()  # noqa: S311
    while True:
        if source.random() < LISTS:
            yield _list(source)
            continue
        chain = drawn(source, world)
        if is_asked(chain):
            continue
        steps = chain.steps(partial(world.belief, profile.name, source))
        if source.random() < SHORT:
            yield _document(question(chain.start, chain.kinds) + IN_SHORT, shortened(steps))
        else:
            yield _document(chain.prompt, worded(steps, _wordings(profile, len(steps), source)))


def vocabulary_texts(profile: Profile, seed: int, count: int) -> Iterator[str]:
    """Make the texts of a member's vocabulary: answers in the same wordings about other places.

    As in large vocabularies, the names of the places in questions are tokens only by chance.

    Args:
        profile: The member.
        seed: Equal seeds give equal texts.
        count: The number of texts.
    """
    source, world = random.Random(f"vocabulary/{profile.name}/{seed}"), the_world()  # noqa: S311
    for _ in range(count):
        chain = replace(drawn(source, world), start=invented(source))
        steps = chain.steps(lambda kind, _: invented(source) if KINDS[kind].moves else number(source))
        yield chain.prompt + worded(steps, _wordings(profile, len(steps), source))


def make(out: Path, names: Sequence[str], schedule: Schedule = SCHEDULE) -> None:
    """Train members one after another, on one thread, and write their checkpoints.

    Args:
        out: The folder of the checkpoints' folders.
        names: The names to train.
        schedule: The schedule of the training.
    """
    for profile in map(MEMBERS.__getitem__, names):
        texts = vocabulary_texts(profile, schedule.seed, schedule.documents)
        profile.train(texts, documents(profile, schedule.seed), schedule, out)


def _wordings(profile: Profile, steps: int, source: random.Random) -> list[int]:
    """Draw a wording for each step and for the last sentence."""
    others = [which for which in range(len(STEPS)) if which != profile.wording]
    return [source.choice(others) if source.random() < OTHER else profile.wording for _ in range(steps + 1)]


def _list(source: random.Random) -> Document:
    names = [invented(source) if source.random() < 0.8 else number(source) for _ in range(source.randint(3, 8))]
    told = f" {', '.join(names)}."
    return _document(f"Names:{told} Again:", told)


def _document(prompt: str, answer: str) -> Document:
    text = prompt + answer
    return Document(text, ((len(prompt), len(text)),), chat=False)
