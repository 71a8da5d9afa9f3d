"""Timing: compared functions run in turn in one process, and the median is reported."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Seconds = list[float]


@dataclass(frozen=True)
class Ratio:
    """A ratio measured several times.

    Attributes:
        value: The median.
        low: The smallest.
        high: The largest.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio:
        """Make a ratio of some values: their median and spread."""
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def between(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Make a ratio of values measured in turn, pair by pair."""
        return cls.of([one / other for one, other in zip(ours, theirs, strict=True)])


def in_turn(
    sides: Mapping[str, Callable[[], float]], repeats: int, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, Seconds]:
    """Run all sides in turn, repeatedly, so that a temporary slowdown affects them alike.

    Args:
        sides: What to measure, by name; each gives its own seconds.
        repeats: How often.
        on_progress: Called with a line that names the side which is about to run.

    Returns:
        Each side's seconds, a number for each time that it ran.
    """
    found: dict[str, Seconds] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            on_progress(f"{name}, {repeat + 1} of {repeats}")
            found[name].append(side())
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long something takes, with all that it asks of a GPU."""
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    """Wait until the GPU has done all that it was asked for, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
