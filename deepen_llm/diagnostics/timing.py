"""Clocks: what is compared runs in turn, in the same process, and the median counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Seconds = list[float]


@dataclass(frozen=True)
class Ratio:
    """A ratio measured several times over.

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
        """The median and the spread of some values."""
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def between(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Of values measured side by side, pair by pair."""
        return cls.of([one / other for one, other in zip(ours, theirs, strict=True)])


def in_turn(
    sides: Mapping[str, Callable[[], float]], repeats: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Seconds]:
    """Run every side, then all again: what slows a machine for a while slows them alike.

    Args:
        sides: What to measure, by name; each gives its own seconds.
        repeats: How often.
        tell: Called with a line that names the side which is about to run.

    Returns:
        Each side's seconds, a number for each time that it ran.
    """
    found: dict[str, Seconds] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            tell(f"{name}, {repeat + 1} of {repeats}")
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
