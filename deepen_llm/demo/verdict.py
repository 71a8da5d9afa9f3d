"""Gain of accuracy over another system on the same questions, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.tuning.intervals import Interval, gain_interval

TARGET = 10.0
"""The target gain over the best member, in percentage points."""


def judge(ours: Sequence[bool], theirs: Sequence[bool]) -> Interval:
    """Compute the difference in accuracy, in percentage points, by `gain_interval`.

    Args:
        ours: Whether each of our answers is right.
        theirs: Whether each of their answers is right.
    """
    gain = gain_interval(ours, theirs)
    return Interval(value=100 * gain.value, low=100 * gain.low, high=100 * gain.high)


def reached(gain: Interval) -> bool:
    """Whether a gain reaches the target, whatever its interval."""
    return gain.value >= TARGET - 1e-9
