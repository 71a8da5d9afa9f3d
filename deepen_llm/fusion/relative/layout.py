"""The layout of a relative space, computed once: its temperature, and stand-ins for tokens without rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from deepen_llm.fusion.relative.cosines import Cosines
from deepen_llm.options import Options
from deepen_llm.storage import fingerprints, store

_SAMPLE = 128  # tokens of each kind that the temperature and the stand-ins are taken from
_LEAST = 20_000  # anchors from which on a layout is kept on disk
_MAX_TEMPERATURE = 1e4
_PRECISION = 1e-5  # of the mean self-mass, on the scale of its logit
_BLOCK_BYTES = 4 * 2**20  # working memory of one block of rows, within a processor's cache


class SpaceOptions(Options):
    """How the relative space is laid out; the defaults are the paper's.

    Attributes:
        center: Subtract the member's mean embedding before the cosine.
        normalize_rows: L2-normalize each row of cosines before the softmax.
        temperature: The factor on the cosines before the softmax; None when ``self_mass`` sets it.
        self_mass: The mean mass that anchors' rows put on themselves, between 0 and 1; every member's temperature
            is found from it. None when ``temperature`` sets it.
    """

    center: bool = False
    normalize_rows: bool = True
    temperature: float | None = Field(100.0, gt=0)
    self_mass: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if (self.temperature is None) == (self.self_mass is None):
            raise ValueError("set exactly one of temperature and self_mass, and the other one to None")
        return self


@dataclass(frozen=True)
class Layout:
    """One member's temperature and stand-ins over a set of anchors; every stand-in sums to 1, as rows do.

    The stand-in of an anchor without a row is ``self_mass · onehot(itself) + anchor``, of any other token ``other``.

    Attributes:
        temperature: The factor on the cosines before the softmax.
        self_mass: The mean mass that anchors' rows put on themselves.
        anchor: The mean of anchors' rows without that mass, ``[A]``; sums to ``1 - self_mass``.
        other: The mean row of tokens that are no anchors, ``[A]``.
    """

    temperature: float
    self_mass: float
    anchor: Tensor
    other: Tensor


def kept_layout(cosines: Cosines, embedding: Tensor, anchors: Tensor, others: Tensor, options: SpaceOptions) -> Layout:
    """`lay_out`, kept on disk where there are many anchors."""
    if len(anchors) < _LEAST:
        return lay_out(cosines, anchors, others, options)
    inputs = [fingerprints.of_embedding(embedding), fingerprints.of_tensor(anchors), fingerprints.of_tensor(others)]
    settings = [options.center, options.normalize_rows, options.temperature, options.self_mass]
    key = fingerprints.fingerprint(["space", *inputs, *settings, embedding.device.type, torch.__version__])
    stored = store.kept("space", key, lambda: _tensors(lay_out(cosines, anchors, others, options)))
    return Layout(
        temperature=float(stored["temperature"]),
        self_mass=float(stored["own"]),
        anchor=stored["anchor"].to(embedding.device),
        other=stored["other"].to(embedding.device),
    )


def _tensors(layout: Layout) -> dict[str, Tensor]:
    """The fields under the names that files have them by."""
    scalars = {"temperature": layout.temperature, "own": layout.self_mass}
    stored = {name: torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()}
    return {**stored, "anchor": layout.anchor, "other": layout.other}


def lay_out(cosines: Cosines, anchors: Tensor, others: Tensor, options: SpaceOptions) -> Layout:
    """Find a space's temperature and stand-ins from evenly spaced tokens.

    Args:
        cosines: The member's tokens and anchors.
        anchors: Ids of the anchors, ``[A]``.
        others: Ids of the tokens that are no anchors; may be empty.
        options: The options of the space.
    """
    columns = _evenly_spaced(len(anchors), cosines.device)
    scores = similarity(cosines, anchors[columns], len(anchors), options)
    itself = columns.unsqueeze(1)
    temperature = options.temperature or _calibrated(scores - scores.gather(1, itself), options.self_mass or 0.9)
    rows = softmax_(scores.mul_(temperature))
    mass = float(rows.gather(1, itself).mean())
    anchor = rows.scatter_(1, itself, 0.0).mean(0)
    other = torch.full_like(anchor, 1 / len(anchors))
    if len(others):
        sample = others[_evenly_spaced(len(others), cosines.device)]
        other = softmax_(similarity(cosines, sample, len(anchors), options).mul_(temperature)).mean(0)
    return Layout(temperature, mass, anchor, other)


def similarity(cosines: Cosines, tokens: Tensor, anchors: int, options: SpaceOptions) -> Tensor:
    """``S`` under the options, before the temperature: ``[K]`` to ``[K, A]``."""
    scores = cosines.write(tokens, torch.empty(len(tokens), anchors, device=cosines.device))
    return normalize_(scores) if options.normalize_rows else scores


def normalize_(scores: Tensor, factor: float = 1.0) -> Tensor:
    """L2-normalize rows in place, times a factor."""
    for block in blocks(scores):
        block *= factor / torch.linalg.vector_norm(block, dim=-1, keepdim=True).clamp_min_(1e-12)
    return scores


def softmax_(scores: Tensor) -> Tensor:
    """Softmax in place, a block of rows at a time."""
    for block in blocks(scores):
        block.copy_(block.softmax(-1))
    return scores


def blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """Views of rows ``[K, A]`` in portions that fit a CPU's caches; on other devices the whole."""
    if rows.device.type != "cpu":
        return (rows,)
    return torch.split(rows, max(1, _BLOCK_BYTES // (4 * rows.shape[1])))


def _evenly_spaced(count: int, device: torch.device) -> Tensor:
    return torch.linspace(0, count - 1, min(count, _SAMPLE), device=device).long()


def _calibrated(scores: Tensor, self_mass: float) -> float:
    """The temperature at which anchors' rows put ``self_mass`` on themselves on average.

    Args:
        scores: The cosines of anchors less those with themselves, ``[K, A]``.
        self_mass: The mean mass to reach.
    """

    def excess(exponent: float) -> float:
        totals = [(block * math.exp(exponent)).exp_().sum(1) for block in blocks(scores)]
        return _logit(float(torch.cat(totals).reciprocal_().mean())) - _logit(self_mass)

    return math.exp(_root(excess, 0.0, math.log(_MAX_TEMPERATURE)))


def _logit(mass: float) -> float:
    mass = min(max(mass, 1e-9), 1 - 1e-7)
    return math.log(mass / (1 - mass))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is zero, by false position (Illinois); the nearer end where it is nowhere."""
    below, above = rising(low), rising(high)
    middle = low
    if below >= 0 or above <= 0:
        return low if below >= 0 else high
    last = 0.0
    for _ in range(40):
        middle = (low * above - high * below) / (above - below)
        value = rising(middle)
        if abs(value) < _PRECISION:
            break
        if value < 0:
            low, below, above = middle, value, above / (2 if last < 0 else 1)  # halved: else one end might never move
        else:
            high, above, below = middle, value, below / (2 if last > 0 else 1)
        last = value
    return middle
