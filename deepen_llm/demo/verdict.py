"""How much better one is than another on the same questions, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

TARGET = 10.0
"""Points above its best member that an ensemble shall reach."""

_RESAMPLES, _SEED = 10_000, 0


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
    """Compare right answers to the same questions by a paired bootstrap over questions (percentiles; seeded).

    Args:
        ours: For each question, whether our answer is right.
        theirs: For each question, whether theirs is.
    """
    gain = 100.0 * (torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64))
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(len(gain), (_RESAMPLES, len(gain)), generator=generator)
    low, high = gain[drawn].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Verdict(float(gain.mean()), low, high)
