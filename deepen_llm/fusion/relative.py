"""Relative representations: a member's tokens described by how near they are to the anchors (arXiv 2404.12715, 3.2).

The shape legend of the whole package: ``N`` members, ``B`` rows (prompts), ``V`` tokens of a vocabulary,
``D`` embedding dimensions, ``A`` anchors, ``K`` tokens that get a row of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from deepen_llm.fusion.rows import DenseRows, Rows, TopRows
from deepen_llm.options import Options

_MEAN_ROW_SAMPLE = 2048  # tokens that the mean row is taken over
_CALIBRATION_SAMPLE = 256  # anchors that the self-mass is measured on
_CHUNK_BYTES = 4 * 2**20  # working memory of one block of rows, within a processor's cache
_MAX_TEMPERATURE = 1e4
_ANCHOR_BLOCK = 16384  # anchors whose embeddings are in fp32 at a time, where the weights are not
_EXACT_COSINES = 2**24  # products up to which a dense matrix is built in the published arithmetic


class SpaceOptions(Options):
    """How the relative space is laid out; the defaults are the paper's.

    Attributes:
        center: Subtract the member's mean embedding before the cosine.
        normalize_rows: L2-normalise each row of cosines before the softmax.
        temperature: The factor on the cosines before the softmax; None when ``self_mass`` sets it.
        self_mass: The mean mass that anchors' rows put on themselves, between 0 and 1; every member's temperature
            is found by bisection. None when ``temperature`` sets it.
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


class RelativeSpace:
    """One member's relative space over given anchors.

    Args:
        embedding: The member's input token embeddings, ``[V, D]``, in any floating type. Kept, not copied.
        anchors: The member's ids of the anchors, ``[A]``.
        options: The layout of the space.
        size: The width of the member's logits, which may exceed the embedding's rows.
        dense: Whether to keep all rows as one ``[V, A]`` matrix; else they are made when needed.
    """

    def __init__(self, embedding: Tensor, anchors: Tensor, options: SpaceOptions, size: int, *, dense: bool) -> None:
        self.size = size
        self.anchors = anchors.to(embedding.device)
        self._embedding, self._options = embedding, options
        self._mean = _mean(embedding) if options.center else None
        self._anchor_rows = embedding[self.anchors.clamp(max=embedding.shape[0] - 1)]  # [A, D], in the weights' type
        self._anchor_scale = self._anchor_norms().clamp_min(1e-12).reciprocal()  # [A]
        self.temperature = options.temperature or self._calibrated(options.self_mass or 0.9)
        self._dense = self._all_rows() if dense else None
        self.mean_row = self._mean_row()  # [A]
        self._place = torch.full((size,), -1, device=self.device)  # [V], each token's place among the anchors
        self._place[self.anchors] = torch.arange(len(anchors), device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the rows are computed."""
        return self._embedding.device

    @property
    def dense(self) -> bool:
        """Whether all rows are kept."""
        return self._dense is not None

    def rows(self, tokens: Tensor) -> Tensor:
        """Relative representations ``softmax(temperature · S[v])`` of some tokens: ``[K]`` to ``[K, A]``."""
        if self._dense is not None:
            return self._dense[tokens]
        out = torch.empty(len(tokens), len(self.anchors), device=self.device)
        start = 0
        for part in self._blocks(tokens):
            scores = self._similarity(part).mul_(self.temperature)
            out[start : start + len(part)] = scores.softmax(-1)
            start += len(part)
        return out

    def view(self, tokens: Callable[[], Sequence[Tensor]]) -> Rows:
        """The map R, exact where it is dense, else with rows for ``tokens()`` (``[K_b]`` for each of B rows)."""
        if self._dense is not None:
            return DenseRows(self._dense)
        found = tokens()
        return TopRows(found, [self.rows(ids) for ids in found], self.mean_row, self.size)

    def into(self, p: Tensor, max_rows: int) -> Tensor:
        """``p R`` with rows for each distribution's ``max_rows`` likeliest tokens: ``[B, V]`` to ``[B, A]``."""
        if self._dense is not None:
            return p @ self._dense
        return torch.stack([self._into(row, ids) for row, ids in zip(p, top_tokens(p, max_rows), strict=True)])

    def likely_anchors(self, p: Tensor, max_rows: int) -> list[Tensor]:
        """Places of the anchors among each row's ``max_rows`` likeliest tokens: ``[B, V]`` to B of ``[K_b]``."""
        places = [self._place[ids] for ids in top_tokens(p, max_rows)]
        return [found[found >= 0] for found in places]

    def _into(self, p: Tensor, tokens: Tensor) -> Tensor:
        """`into` for one distribution ``[V]``, some of whose tokens get rows, a block of rows at a time."""
        out = p.index_fill(0, tokens, 0.0).sum() * self.mean_row
        for part in self._blocks(tokens):
            out += p[part] @ self.rows(part)
        return out

    def _blocks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows, or tokens that are to get rows, in portions that fit the working memory."""
        return torch.split(rows, max(1, _CHUNK_BYTES // (4 * len(self.anchors))))

    def _vectors(self, tokens: Tensor) -> Tensor:
        """Some tokens' embeddings in fp32, ``[K, D]``; logits beyond the embedding's rows have zeros."""
        count = self._embedding.shape[0]
        vectors = self._embedding[tokens.clamp(max=count - 1)].float()
        if self._mean is not None:
            vectors = vectors - self._mean
        return vectors * (tokens < count).unsqueeze(-1)

    def _anchor_norms(self) -> Tensor:
        return torch.cat([self._vectors(part).norm(dim=-1) for part in torch.split(self.anchors, _ANCHOR_BLOCK)])

    def _similarity(self, tokens: Tensor) -> Tensor:
        vectors = F.normalize(self._vectors(tokens), dim=-1)  # [K, D]
        blocks = torch.split(self._anchor_rows, _ANCHOR_BLOCK)
        scores = torch.cat([vectors @ block.float().T for block in blocks], dim=1)  # [K, A]
        if self._mean is not None:
            scores -= (vectors @ self._mean).unsqueeze(1)
        scores *= self._anchor_scale
        return F.normalize(scores, dim=-1) if self._options.normalize_rows else scores

    def _all_rows(self) -> Tensor:
        tokens = torch.arange(self.size, device=self.device)
        exact = self.size * self._anchor_rows.numel() <= _EXACT_COSINES
        scores = self._published_similarity(tokens) if exact else self._similarity(tokens)
        return torch.softmax(scores * self.temperature, dim=-1)

    def _published_similarity(self, tokens: Tensor) -> Tensor:
        """`_similarity` in the published arithmetic: the search amplifies the last bit of a cosine near its epsilon."""
        anchors = self._vectors(self.anchors).unsqueeze(0)  # [1, A, D]
        step = max(1, _CHUNK_BYTES // (4 * anchors.numel()))
        parts = [
            F.cosine_similarity(self._vectors(part).unsqueeze(1), anchors, dim=-1) for part in torch.split(tokens, step)
        ]
        scores = torch.cat(parts)
        return F.normalize(scores, dim=-1) if self._options.normalize_rows else scores

    def _mean_row(self) -> Tensor:
        """The mean row, over evenly spaced tokens where all would be too many."""
        count = min(self._embedding.shape[0], self.size)
        tokens = torch.linspace(0, count - 1, min(count, _MEAN_ROW_SAMPLE), device=self.device).long()
        total = torch.zeros(len(self.anchors), device=self.device)
        for part in self._blocks(tokens):
            total += self.rows(part).sum(0)
        return total / len(tokens)

    def _calibrated(self, self_mass: float) -> float:
        """The temperature at which anchors' rows put ``self_mass`` on themselves on average, by bisection."""
        count = len(self.anchors)
        places = torch.linspace(0, count - 1, min(count, _CALIBRATION_SAMPLE), device=self.device).long()
        scores = self._similarity(self.anchors[places])
        scores = scores - scores.gather(1, places.unsqueeze(1))
        low, high = 0.0, math.log(_MAX_TEMPERATURE)
        for _ in range(25):
            middle = (low + high) / 2
            totals = [(block * math.exp(middle)).exp().sum(1) for block in self._blocks(scores)]
            mass = torch.cat(totals).reciprocal().mean()
            low, high = (middle, high) if mass < self_mass else (low, middle)
        return math.exp((low + high) / 2)


def top_tokens(p: Tensor, count: int) -> list[Tensor]:
    """The likeliest tokens of each row: ``[B, V]`` to B of ``[K]``."""
    return list(p.topk(min(count, p.shape[-1]), dim=-1).indices)


def _mean(embedding: Tensor) -> Tensor:
    """Mean embedding ``[D]`` in fp32 without an fp32 copy of the whole."""
    total = torch.zeros(embedding.shape[1], device=embedding.device)
    for part in torch.split(embedding, 8192):
        total += part.float().sum(0)
    return total / embedding.shape[0]
