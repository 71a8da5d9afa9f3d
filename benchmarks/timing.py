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
        tell: Told which is about to run.
    """
    found: dict[str, Seconds] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            tell(f"{name}, {repeat + 1} of {repeats}")
            found[name].append(side())
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long something takes, with all that it asks of a GPU."""
    _wait()
    started = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - started


def device_seconds(work: Callable[[], object]) -> float:
    """How long something takes on the GPU, between two of its events."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    _wait()
    return float(before.elapsed_time(after)) / 1e3


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
