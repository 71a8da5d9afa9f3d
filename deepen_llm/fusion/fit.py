"""Whether members fit together: a plain verdict from what can be known before a task is tried.

The bounds are rules of thumb. What is published: more anchors do better in DEEPEN's own ablation (arXiv 2404.12715);
members whose scores are more than 10 points apart tend to lose against the better one alone (UniTE, arXiv 2410.03777),
though a strong specialist can gain from a weaker model (arXiv 2404.12715). For consistency nothing is published: the
bounds lie between models with random weights (0 to 1 % above chance) and the bundled specialists (9 to 17 %), which
are 55 points better together than alone. Only a development set tells whether an ensemble helps (`deepen tune`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepen_llm.errors import ConfigError

Verdict = Literal["does not fit", "may fit", "fits well"]

VERDICTS: tuple[Verdict, ...] = ("does not fit", "may fit", "fits well")
"""From the worst to the best."""

ANCHORS = (32, 500)
"""Shared anchors below which members do not fit (the fusion methods' own `min_anchors`), and may fit."""

SHARE = (0.05, 0.3)
"""The same, for the share of the smallest vocabulary: real pairs share 40 to 99 % of it (docs/method.md)."""

ABOVE_CHANCE = (0.02, 0.05)
"""The same, for consistency: how much of the way from chance to perfect agreement it has come."""

SCORE_GAP = (0.3, 0.1)
"""Differences between the best and the worst score from which on members do not fit, and may fit."""

ALIKE = 0.8
"""Consistency above chance from which on members are likely to be of one family; no reason against them by itself."""


@dataclass(frozen=True)
class Reason:
    """One thing that counts for or against some members.

    Attributes:
        verdict: What it alone would say; None if it is a remark.
        text: One line.
    """

    verdict: Verdict | None
    text: str


@dataclass(frozen=True)
class Fit:
    """How well members fit together.

    Attributes:
        verdict: The worst that any reason says.
        reasons: One for anchors, consistency and scores each, and remarks.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...]


def fit(anchors: int, share: float, consistency: float, chance: float, scores: Sequence[float] | None = None) -> Fit:
    """Judge how well two or more members fit together.

    More anchors, a larger share, more consistency and a smaller gap never make the verdict worse.

    Args:
        anchors: Number of anchors that they share.
        share: The share of the smallest vocabulary that these are, from 0 to 1.
        consistency: Mean consistency of the anchors in the calibrated space (`deepen_llm.fusion.consistency`).
        chance: What it would be between anchors that have nothing to do with each other.
        scores: Each member's score alone on the task at hand, as a share of right answers; None if not known.

    Raises:
        ConfigError: A score is not between 0 and 1.
    """
    reasons = [_anchors(anchors, share)]
    if anchors:
        reasons += _consistency(consistency, chance)
    reasons.append(_scores(scores))
    said = [reason.verdict for reason in reasons if reason.verdict]
    return Fit(min(said, key=VERDICTS.index), tuple(reasons))


def above_chance(consistency: float, chance: float) -> float:
    """How much of the way from chance to perfect agreement some consistency has come; 0 where it has no value."""
    found = (consistency - chance) / max(1 - chance, 1e-9)
    return max(0.0, found) if math.isfinite(found) else 0.0


def _anchors(anchors: int, share: float) -> Reason:
    by_count, by_share = _level(anchors, ANCHORS), _level(share, SHARE)
    worst = min(by_count, by_share)
    few = ("too few to compare tokens by", "few to compare tokens by", "enough")
    said = few[worst] if by_count == worst else "most of that vocabulary has no counterpart"
    return Reason(VERDICTS[worst], f"{anchors:,} shared anchors, {share:.0%} of the smallest vocabulary: {said}")


def _consistency(consistency: float, chance: float) -> list[Reason]:
    above = above_chance(consistency, chance)
    level = _level(above, ABOVE_CHANCE)
    said = ("like unrelated models", "little alike", "alike enough")[level]
    numbers = f"consistency {consistency:.2f}, by chance {chance:.2f} ({above:.0%} of the way to 1)"
    reasons = [Reason(VERDICTS[level], f"{numbers}: {said}")]
    if above >= ALIKE:
        reasons.append(Reason(None, "nearly the same anchors: one family may share its mistakes"))
    return reasons


def _scores(scores: Sequence[float] | None) -> Reason:
    if not scores:
        return Reason(None, "scores not known: if one is far better, use it alone")
    for score in scores:
        if not 0 <= score <= 1:
            raise ConfigError(f"a score of {score}", hint="give shares of right answers, from 0 to 1, such as 0.61")
    gap = max(scores) - min(scores)
    level = _level(-gap, (-SCORE_GAP[0], -SCORE_GAP[1]))
    said = ("the best one alone is likely to be better", "the best one may be better alone", "about equally good")
    return Reason(VERDICTS[level], f"scores from {min(scores):.2f} to {max(scores):.2f}: {said[level]}")


def _level(value: float, bounds: tuple[float, float]) -> int:
    """0, 1 or 2: below both bounds, the second one, or none."""
    return sum(value >= bound for bound in bounds)
