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
        sides: Functions by name, each of which returns its seconds.
        repeats: The number of repetitions.
        on_progress: Called before each run.
    """
    found: dict[str, Seconds] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            on_progress(f"{name}, {repeat + 1} of {repeats}")
            found[name].append(side())
    return found


def seconds(work: Callable[[], object]) -> float:
    """Measure the seconds of a call, including its work on a GPU."""
    _wait()
    started = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - started


def device_seconds(work: Callable[[], object]) -> float:
    """Measure the seconds of a call on the GPU, between two events."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    _wait()
    return float(before.elapsed_time(after)) / 1e3


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
