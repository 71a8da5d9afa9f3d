"""The recipe of the bundled specialists and their question sets.

Run as ``python -m research.specialists.recipe --out FOLDER``. Nothing is downloaded, and equal
seeds give equal files. It took less than an hour on two busy cores (2026-11-21).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch

from research.specialists.batches import Schedule
from research.specialists.knowledge import SUBJECTS, Subject, digits
from research.specialists.phrasing import CLOSINGS, OPENINGS, fill, templates
from research.specialists.profiles import PROFILES
from research.specialists.training import save, train

PER_SUBJECT = 20
"""Questions of each subject in each set."""

_LOG = logging.getLogger(__name__)


def make_questions(split: Literal["dev", "test"], seed: int = 7) -> Iterator[dict[str, str]]:
    """Yield the questions of a set, in its own wordings; the facts of the sets differ if there are enough.

    Args:
        split: The set.
        seed: Equal seeds give equal questions.

    Yields:
        Records with ``subject``, ``question`` and ``answer``.
    """
    for subject in SUBJECTS.values():
        wording = random.Random(f"{subject.name}/{split}/{seed}")  # noqa: S311
        forms = templates(subject.name, split)
        for number, key in enumerate(chosen_facts(subject, split, seed)):
            spelled = digits(key) if "+" in key and number % 3 == 0 else key
            question = fill(forms[number % len(forms)], spelled)
            question = wording.choice(OPENINGS) + question + wording.choice(CLOSINGS)
            yield {"subject": subject.name, "question": question, "answer": subject.facts[key]}


def chosen_facts(subject: Subject, split: Literal["dev", "test"], seed: int) -> list[str]:
    """Choose the facts of a subject for a set: the first of a shuffled list for one set, the last for the other.

    Args:
        subject: The subject.
        split: The set.
        seed: Equal seeds give equal choices.

    Returns:
        Keys of the subject's facts.
    """
    shuffled = random.Random(f"{subject.name}/{seed}")  # noqa: S311
    keys = shuffled.sample(list(subject.facts), len(subject.facts))
    return keys[:PER_SUBJECT] if split == "dev" else keys[-PER_SUBJECT:]


def write_questions(folder: Path) -> None:
    """Write ``dev.jsonl`` and ``test.jsonl``.

    Args:
        folder: The folder; created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("dev", "test"):
        lines = "".join(json.dumps(record) + "\n" for record in make_questions(split))
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def make(out: Path, names: Sequence[str], schedule: Schedule, jobs: int = 1) -> None:
    """Train specialists and write their checkpoints, and write the question sets.

    Args:
        out: The folder of ``checkpoints/<name>`` and ``data``.
        names: The specialists.
        schedule: The schedule of the training.
        jobs: The number of parallel processes, each with one thread; the weights do not depend on it.
    """
    write_questions(out / "data")
    one = partial(_make_one, out=out, schedule=schedule)
    if jobs == 1:
        list(map(one, names))
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_log) as pool:
        list(pool.map(one, names))


def _make_one(name: str, out: Path, schedule: Schedule) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.perf_counter()
        model, tokenizer = train(PROFILES[name], schedule)
        save(PROFILES[name], model, tokenizer, out / "checkpoints" / name)
        _LOG.info("%s is ready after %.0f s", name, time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)


def _start_log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def main(arguments: list[str] | None = None) -> None:
    """Run a command line.

    Args:
        arguments: The arguments; None for those of the process.
    """
    defaults = Schedule()
    parser = argparse.ArgumentParser(prog="python -m research.specialists.recipe", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets checkpoints and data")
    parser.add_argument("--only", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--more", type=int, help="steps of the second round")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--jobs", type=int, default=2, help="how many to train at a time, a core each")
    options = parser.parse_args(arguments)
    _start_log()
    schedule = replace(defaults, steps=options.steps, more=options.more, seed=options.seed)
    make(options.out, options.only, schedule, options.jobs)


if __name__ == "__main__":
    main()
