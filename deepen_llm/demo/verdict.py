"""How much better one is than another on the same questions, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepen_llm.intervals import gain_interval

TARGET = 10.0
"""Points above its best member that an ensemble shall reach."""


@dataclass(frozen=True)
class Verdict:
    """A difference in accuracy, in percentage points, with its 95 % interval.

    Attributes:
        points: The difference.
        low: The interval's lower end.
        high: The interval's upper end.
    """

    points: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """Whether the difference itself reaches the target."""
        return self.points >= TARGET - 1e-9


def judge(ours: Sequence[bool], theirs: Sequence[bool]) -> Verdict:
    """Compare right answers to the same questions; see `gain_interval`.

    Args:
        ours: For each question, whether our answer is right.
        theirs: For each question, whether theirs is.
    """
    gain = gain_interval(ours, theirs)
    return Verdict(100 * gain.value, 100 * gain.low, 100 * gain.high)
