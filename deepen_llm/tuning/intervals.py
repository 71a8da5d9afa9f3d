"""Confidence intervals of scores and of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_RESAMPLES, _SEED = 10_000, 0
_BLOCK = 500  # resamples in memory at a time
_Z, _POWER = 1.96, 0.84  # two-sided 95 %, and 80 % power


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    Attributes:
        value: The value.
        low: The lower end of the interval.
        high: The upper end of the interval.
    """

    value: float
    low: float
    high: float


def score_interval(scores: Sequence[float]) -> Interval:
    """Compute the mean of scores from 0 to 1 with Wilson's interval (1927), which is valid near 0 and 1, too.

    The interval is too wide for scores other than 0 and 1.
    """
    n, mean = len(scores), math.fsum(scores) / len(scores)
    middle = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(mean * (1 - mean) / n + _Z**2 / (4 * n**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Interval(mean, min(mean, low), max(mean, high))  # the bounds enclose the mean except for rounding


def gain_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Compute the mean difference of scores on the same examples by a paired bootstrap (percentiles; seeded)."""
    gain = torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(_SEED)
    size = len(gain)
    blocks = [min(_BLOCK, _RESAMPLES - first) for first in range(0, _RESAMPLES, _BLOCK)]
    means = torch.cat([gain[torch.randint(size, (rows, size), generator=generator)].mean(1) for rows in blocks])
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(gain.mean()), low, high)


def standard_error(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Compute the standard error of the mean difference of scores on the same examples."""
    gain = [a - b for a, b in zip(ours, theirs, strict=True)]
    return float(torch.tensor(gain, dtype=torch.float64).std()) / math.sqrt(len(gain))


def examples_needed(ours: Sequence[float], theirs: Sequence[float]) -> int | None:
    """Estimate the examples to detect the difference at 95 % with a power of 80 %; None without a difference."""
    gain = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = math.fsum(gain) / len(gain)
    spread = standard_error(ours, theirs) * math.sqrt(len(gain))
    return max(2, math.ceil(((_Z + _POWER) * spread / mean) ** 2)) if mean else None


def sign_test(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Compute the p-value of the exact two-sided sign test."""
    wins = sum(a > b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a < b for a, b in zip(ours, theirs, strict=True))
    fewer, n = min(wins, losses), wins + losses
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**n))
