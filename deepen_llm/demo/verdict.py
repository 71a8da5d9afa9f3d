"""How much better one is than another on the same questions, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.tuning.intervals import Interval, gain_interval

TARGET = 10.0
"""Points above its best member that an ensemble shall reach."""


def judge(ours: Sequence[bool], theirs: Sequence[bool]) -> Interval:
    """The difference in accuracy, in percentage points, by `gain_interval`.

    Args:
        ours: For each question, whether our answer is right.
        theirs: For each question, whether theirs is.
    """
    gain = gain_interval(ours, theirs)
    return Interval(100 * gain.value, 100 * gain.low, 100 * gain.high)


def reached(gain: Interval) -> bool:
    """Whether a difference itself reaches the target."""
    return gain.value >= TARGET - 1e-9
