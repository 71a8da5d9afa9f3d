"""Whether members are worth fusing, from what they answer alone: who is right where another is wrong, and knows it.

What a fused answer would be is guessed from the *surest* member's, the one that finds its own answer likeliest. On the
study's pairs its gain over the best member foretells the gain of ``fusion="surface"`` (docs/tuning.md has numbers, and
`research.study.inspection` what else was tried). Errors that differ are needed, and calibration: a member that is
surer of its wrong answers than another one of its right answers takes away more than it adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepen_llm.tuning.answered import Answered
from deepen_llm.tuning.intervals import Interval, examples_needed, gain_interval, score_interval

Verdict = Literal["worth trying", "use one alone", "undecided", "not known"]

LEAST_GAIN = 0.02
"""A gain over the best member that is not worth another model: about what the guess itself is off by."""


@dataclass(frozen=True)
class Overlap:
    """How the answers of some members overlap.

    Attributes:
        best: Index of the member with the most right answers; of equals the first.
        right: Each member's share of right answers.
        recovered: Of the best one's wrong answers, the share that another member answers right; None without any.
        gain: The share of right answers if the surest member's were taken, less the best one's.
        needed: About how many examples would tell such a gain from none; None where there is none.
    """

    best: int
    right: tuple[Interval, ...]
    recovered: Interval | None
    gain: Interval
    needed: int | None

    @classmethod
    def of(cls, answered: Sequence[Answered]) -> Overlap:
        """The overlap of two or more members' answers to the same examples, two or more."""
        best = max(range(len(answered)), key=lambda i: answered[i].share)
        first, *others = sorted(range(len(answered)), key=lambda i: i != best)
        alone = [float(one) for one in answered[first].right]
        taken = surest([answered[i] for i in (first, *others)])
        rights = zip(*(answered[i].right for i in others), strict=True)
        found = [float(any(other)) for ok, other in zip(alone, rights, strict=True) if not ok]
        return cls(
            best,
            tuple(score_interval(one.right) for one in answered),
            score_interval(found) if found else None,
            gain_interval(taken, alone),
            examples_needed(taken, alone),
        )

    @property
    def verdict(self) -> Verdict:
        """By the gain's interval: all of it above 0, all of it below `LEAST_GAIN`, or neither."""
        if self.gain.low > 0:
            return "worth trying"
        return "use one alone" if self.gain.high < LEAST_GAIN else "undecided"

    def told(self, names: Sequence[str]) -> str:
        """The verdict with its reason, as a sentence.

        Args:
            names: The members' names.
        """
        best, others = names[self.best], [name for i, name in enumerate(names) if i != self.best]
        verdict = f"use {best} alone" if self.verdict == "use one alone" else self.verdict
        if self.recovered is None:
            return f"{verdict}: {best} gets nothing wrong"
        who = others[0] if len(others) == 1 else f"one of {', '.join(others)}"
        recovered = f"{100 * self.recovered.value:.0f} % right ({_ends(self.recovered)})"
        gain = f"{round(100 * self.gain.value):+d} points ({_ends(self.gain, sign='+')})"
        more = f"; about {self.needed:,} examples would tell" if self.verdict == "undecided" and self.needed else ""
        told = f"of what {best} gets wrong, {who} answers {recovered}"
        return f"{verdict}: {told}; taking the surest one's answers would gain {gain}{more}"


def surest(answered: Sequence[Answered]) -> list[float]:
    """For each example, 1 where the answer is right of the member that finds its own likeliest; of equals the first."""
    places = zip(*(zip(one.logprobs, one.right, strict=True) for one in answered), strict=True)
    return [float(max(place, key=lambda said: said[0])[1]) for place in places]


def _ends(given: Interval, sign: str = "") -> str:
    low, high = (f"{round(100 * one):{sign}d}" for one in (given.low, given.high))
    return f"{low} to {high}"
