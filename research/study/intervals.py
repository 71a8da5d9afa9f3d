"""Bootstrap intervals over facts, or over pairs of members."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

_RESAMPLES, _SEED = 10_000, 0
_FEWER = 2_000  # resamples for statistics other than a mean


class BootstrapInterval(NamedTuple):
    """A mean with its 95 % interval (percentiles of the bootstrap)."""

    mean: float
    low: float
    high: float


def interval(values: Tensor, facts: Sequence[str]) -> BootstrapInterval:
    """Compute the mean over all questions, with its interval by a bootstrap over facts.

    Args:
        values: One value per question, ``[Q]``; differences to compare two outcomes.
        facts: The fact of each question.
    """
    place = {fact: number for number, fact in enumerate(dict.fromkeys(facts))}
    owner = torch.tensor([place[fact] for fact in facts])
    totals = torch.zeros(len(place), dtype=torch.float64).index_add(0, owner, values.double())
    counts = torch.zeros(len(place), dtype=torch.float64).index_add(0, owner, torch.ones(len(facts)).double())
    drawn = _drawn(len(place))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return BootstrapInterval(mean=float(values.double().mean()), low=low, high=high)


@lru_cache(maxsize=2)
def _drawn(count: int) -> Tensor:
    return torch.randint(count, (_RESAMPLES, count), generator=torch.Generator().manual_seed(_SEED))


def rank_correlation(first: Tensor, second: Tensor) -> BootstrapInterval:
    """Compute Spearman's rank correlation over pairs, ``[2 · pairs]`` each, the two orders of a pair adjacent.

    The bootstrap draws pairs, not orders; draws with equal values of a measure are left out.
    """
    drawn = _drawn(len(first) // 2)[:_FEWER]
    orders = torch.stack([2 * drawn, 2 * drawn + 1], 2).flatten(1)
    found = torch.stack([_spearman(first[order], second[order]) for order in orders])
    low, high = found.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return BootstrapInterval(mean=float(_spearman(first, second)), low=low, high=high)


def _spearman(first: Tensor, second: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([_ranks(first), _ranks(second)]))[0, 1]


def _ranks(values: Tensor) -> Tensor:
    """Rank values from the least to the largest; equal values get their mean rank."""
    below, equal = values[:, None] > values, values[:, None] == values
    return below.double().sum(1) + (equal.double().sum(1) + 1) / 2
