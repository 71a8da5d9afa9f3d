"""Overlap of members' answers: a prediction whether fusing them helps, from their answers alone.

The fused answer is predicted as the answer of the *surest* member, whose answer has the highest probability. On the
study's pairs its gain over the best member predicts the gain of ``fusion="surface"`` (docs/tuning.md has numbers, and
`research.study.inspection` the alternatives). Members help if their errors differ and their probabilities are
calibrated: a member whose wrong answers are likelier than another's right ones costs more than it adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepen_llm.tuning.answered import MemberAnswers
from deepen_llm.tuning.intervals import Interval, examples_needed, gain_interval, score_interval

Verdict = Literal["worth trying", "use one alone", "undecided", "not known"]

LEAST_GAIN = 0.02
"""The least useful gain over the best member, about the error of the prediction."""


@dataclass(frozen=True)
class Overlap:
    """The overlap of some members' answers.

    Attributes:
        best: The index of the member with the most right answers; the first of equals.
        right: The share of right answers of each member.
        recovered: The share of the best member's wrong answers that another member has right; None without any.
        gain: The share of right answers of the surest member, minus that of the best member.
        needed: An estimate of the examples that detect this gain; None without a gain.
    """

    best: int
    right: tuple[Interval, ...]
    recovered: Interval | None
    gain: Interval
    needed: int | None

    @classmethod
    def of(cls, answered: Sequence[MemberAnswers]) -> Overlap:
        """Compute the overlap of the answers of two or more members to two or more examples."""
        best = max(range(len(answered)), key=lambda i: answered[i].share)
        first, *others = sorted(range(len(answered)), key=lambda i: i != best)
        alone = [float(right) for right in answered[first].right]
        taken = surest([answered[i] for i in (first, *others)])
        rights = zip(*(answered[i].right for i in others), strict=True)
        recovered = [float(any(other)) for right, other in zip(alone, rights, strict=True) if not right]
        return cls(
            best=best,
            right=tuple(score_interval(answers.right) for answers in answered),
            recovered=score_interval(recovered) if recovered else None,
            gain=gain_interval(taken, alone),
            needed=examples_needed(taken, alone),
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict by the gain's interval: above 0, below `LEAST_GAIN`, or neither."""
        if self.gain.low > 0:
            return "worth trying"
        return "use one alone" if self.gain.high < LEAST_GAIN else "undecided"

    def explain(self, names: Sequence[str]) -> str:
        """Format the verdict with its reason as a sentence.

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
        overlap = f"of what {best} gets wrong, {who} answers {recovered}"
        return f"{verdict}: {overlap}; taking the surest one's answers would gain {gain}{more}"


def surest(answered: Sequence[MemberAnswers]) -> list[float]:
    """Score the answer of the surest member to each example: 1 if it is right; the first member of equals."""
    examples = zip(*(zip(answers.logprobs, answers.right, strict=True) for answers in answered), strict=True)
    return [float(max(candidates, key=lambda pair: pair[0])[1]) for candidates in examples]


def _ends(interval: Interval, sign: str = "") -> str:
    low, high = (f"{round(100 * end):{sign}d}" for end in (interval.low, interval.high))
    return f"{low} to {high}"
