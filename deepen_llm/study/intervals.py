"""How sure a number is: a bootstrap over facts, as questions for one fact are no independent evidence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

_RESAMPLES, _SEED = 10_000, 0


class Interval(NamedTuple):
    """A mean with its 95 % interval (percentiles of the bootstrap)."""

    mean: float
    low: float
    high: float


def interval(values: Tensor, facts: Sequence[str]) -> Interval:
    """The mean over all questions, and its interval when the facts are drawn anew.

    Args:
        values: One per question, ``[Q]``; of two outcomes to be compared, their differences.
        facts: Which fact each question asks for.
    """
    place = {fact: number for number, fact in enumerate(dict.fromkeys(facts))}
    owner = torch.tensor([place[fact] for fact in facts])
    totals = torch.zeros(len(place), dtype=torch.float64).index_add(0, owner, values.double())
    counts = torch.zeros(len(place), dtype=torch.float64).index_add(0, owner, torch.ones(len(facts)).double())
    drawn = _drawn(len(place))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.double().mean()), low, high)


@lru_cache(maxsize=2)
def _drawn(count: int) -> Tensor:
    return torch.randint(count, (_RESAMPLES, count), generator=torch.Generator().manual_seed(_SEED))
