"""Cosines between tokens and anchors, ``S[v, a]``: one matrix product, in fp32 for weights of any dtype."""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16384  # anchors whose embeddings are converted at a time
_TRANSPOSED = range(4, 17)  # numbers of tokens for which a CPU computes the transposed product faster
_WIDENING = torch.__version__ >= "2.8"  # whether CUDA products of half dtypes can have fp32 results


class Cosines:
    """Cosines between a member's tokens and its anchors.

    The anchors' matrix, the largest part of a relative space, is built when the first cosine is computed.

    Args:
        embedding: The member's input token embeddings, ``[V, D]``, of any floating dtype. It is not copied.
        anchors: Ids of the anchors, ``[A]``, on the embedding's device.
        center: Whether to subtract the embedding's mean before the cosine.
    """

    def __init__(self, embedding: Tensor, anchors: Tensor, *, center: bool) -> None:
        self._embedding, self._ids, self._center = embedding, anchors, center
        self._built: _Anchors | None = None
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments only: a copy builds its own matrix."""
        return partial(Cosines, center=self._center), (self._embedding, self._ids)

    @property
    def _anchors(self) -> _Anchors:
        with self._lock:
            self._built = self._built or _Anchors(self._embedding, self._ids, center=self._center)
            return self._built

    @property
    def device(self) -> torch.device:
        """Where they are computed."""
        return self._embedding.device

    @property
    def width(self) -> int:
        """Dimensions of the embedding, D."""
        return self._embedding.shape[1]

    def vectors(self, tokens: Tensor) -> Tensor:
        """Embeddings of tokens in fp32, centered, ``[K, D]``; zeros for ids beyond the embedding."""
        return _vectors(self._embedding, tokens, self._anchors.mean)

    def write(self, tokens: Tensor, out: Tensor, factor: float = 1.0) -> Tensor:
        """Write ``factor · S[v]`` of tokens ``[K]`` into ``out``, ``[K, A]``, and return it."""
        anchors, vectors = self._anchors, self.vectors(tokens)
        if anchors.scale is None:
            return _products(F.normalize(vectors, dim=-1).mul_(factor), anchors.matrix, out)
        out = _raw_products(self._embedding[tokens.clamp(max=len(self._embedding) - 1)], anchors.matrix, out)
        norms = vectors.norm(dim=-1, keepdim=True)
        scale = torch.where(norms > 0, factor / norms.clamp_min(1e-12), 0.0)  # [K, 1]
        if anchors.mean is not None:  # (v - µ)·(a - µ) = v·a - a·µ - (v - µ)·µ
            out.sub_(anchors.offset).sub_((vectors @ anchors.mean).unsqueeze(1))
        return out.mul_(anchors.scale).mul_(scale)


class _Anchors:
    """The anchors' side of the cosines.

    fp32 embeddings of anchors are centered and normalized. Those of other dtypes stay as they are, which saves memory
    and precision; instead, the products are centered and scaled.

    Attributes:
        matrix: The anchors' embeddings, ``[A, D]``, of the weights' dtype.
        mean: The embedding's mean, fp32 ``[D]``; None without centering.
        scale: The factors of the products, ``[A]``; None where the matrix is normalized.
        offset: What is subtracted from the products before scaling, ``[A]``; set only with ``scale`` and ``mean``.
    """

    def __init__(self, embedding: Tensor, ids: Tensor, *, center: bool) -> None:
        self.mean = mean_embedding(embedding) if center else None
        self.matrix = embedding[ids.clamp(max=len(embedding) - 1)]
        self.scale: Tensor | None = None
        blocks = torch.split(self.matrix, _BLOCK)
        if embedding.dtype == torch.float32:
            for block in blocks:
                if self.mean is not None:
                    block -= self.mean
                block /= block.norm(dim=-1, keepdim=True).clamp_min_(1e-12)
            return
        norms = [_vectors(embedding, part, self.mean).norm(dim=-1) for part in torch.split(ids, _BLOCK)]
        self.scale = torch.cat(norms).clamp_min_(1e-12).reciprocal_()
        if self.mean is not None:
            self.offset = torch.cat([block.float() @ self.mean for block in blocks])


def _vectors(embedding: Tensor, tokens: Tensor, mean: Tensor | None) -> Tensor:
    vectors = embedding[tokens.clamp(max=len(embedding) - 1)].float()
    if mean is not None:
        vectors = vectors - mean
    return vectors * (tokens < len(embedding)).unsqueeze(-1)


def _products(vectors: Tensor, anchors: Tensor, out: Tensor) -> Tensor:
    """Products of fp32 vectors ``[K, D]`` with anchors ``[A, D]``, ``[K, A]``."""
    if out.device.type != "cpu" or len(vectors) not in _TRANSPOSED:
        return torch.mm(vectors, anchors.T, out=out)
    return out.copy_((anchors @ vectors.T).T)


def _raw_products(vectors: Tensor, anchors: Tensor, out: Tensor) -> Tensor:
    """`_products` of half dtypes, summed in fp32."""
    if out.device.type == "cuda" and vectors.element_size() == 2 and _WIDENING:
        return out.copy_(torch.mm(vectors, anchors.T, out_dtype=torch.float32))
    exact = vectors.float()
    for block, part in zip(torch.split(anchors, _BLOCK), torch.split(out, _BLOCK, dim=1), strict=True):
        part.copy_((block.float() @ exact.T).T)
    return out


def mean_embedding(embedding: Tensor) -> Tensor:
    """The mean embedding ``[D]`` in fp32, without an fp32 copy of the embedding."""
    total = torch.zeros(embedding.shape[1], device=embedding.device)
    for part in torch.split(embedding, 8192):
        total += part.float().sum(0)
    return total / embedding.shape[0]
