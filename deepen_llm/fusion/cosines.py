"""Cosines between tokens and anchors, ``S[v, a]``: one product, in fp32 whatever the type of the weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16384  # anchors at a time, where their embeddings are converted
_TURNED = range(4, 17)  # numbers of tokens for which a CPU is faster at the product the other way round
_WIDENING = torch.__version__ >= "2.8"  # whether CUDA products of half types can be had in fp32


class Cosines:
    """How near a member's tokens are to its anchors.

    Where the weights are fp32, the anchors' embeddings are kept centred and normalised; else as they are, so that
    they take no more memory and lose nothing, and it is the products that are centred and scaled.

    Args:
        embedding: The member's input token embeddings, ``[V, D]``, in any floating type. Kept, not copied.
        anchors: Ids of the anchors, ``[A]``, on the embedding's device.
        mean: The embedding's mean, fp32 ``[D]``, subtracted before the cosine; None to subtract nothing.
    """

    def __init__(self, embedding: Tensor, anchors: Tensor, mean: Tensor | None) -> None:
        self._embedding, self._mean = embedding, mean
        self._anchors = embedding[anchors.clamp(max=len(embedding) - 1)]  # [A, D], in the weights' type
        self._ready = embedding.dtype == torch.float32
        if self._ready:
            for block in torch.split(self._anchors, _BLOCK):
                if mean is not None:
                    block -= mean
                block /= block.norm(dim=-1, keepdim=True).clamp_min_(1e-12)
        else:
            norms = [self.vectors(part).norm(dim=-1) for part in torch.split(anchors, _BLOCK)]
            self._scale = torch.cat(norms).clamp_min_(1e-12).reciprocal_()  # [A]
            if mean is not None:
                self._offset = torch.cat([block.float() @ mean for block in torch.split(self._anchors, _BLOCK)])  # [A]

    @property
    def device(self) -> torch.device:
        """Where they are computed."""
        return self._embedding.device

    @property
    def width(self) -> int:
        """Dimensions of the embedding, D."""
        return self._embedding.shape[1]

    def vectors(self, tokens: Tensor) -> Tensor:
        """Some tokens' embeddings in fp32, centred, ``[K, D]``; tokens beyond the embedding's rows have zeros."""
        vectors = self._embedding[tokens.clamp(max=len(self._embedding) - 1)].float()
        if self._mean is not None:
            vectors = vectors - self._mean
        return vectors * (tokens < len(self._embedding)).unsqueeze(-1)

    def write(self, tokens: Tensor, out: Tensor, factor: float = 1.0) -> Tensor:
        """Write ``factor · S[v]`` of some tokens ``[K]`` into ``out``, ``[K, A]``, and return it."""
        vectors = self.vectors(tokens)
        if self._ready:
            return self._products(F.normalize(vectors, dim=-1).mul_(factor), out)
        out = self._raw_products(self._embedding[tokens.clamp(max=len(self._embedding) - 1)], out)
        norms = vectors.norm(dim=-1, keepdim=True)
        scale = torch.where(norms > 0, factor / norms.clamp_min(1e-12), 0.0)  # [K, 1]
        if self._mean is not None:  # (v - µ)·(a - µ) = v·a - a·µ - (v - µ)·µ
            out.sub_(self._offset).sub_((vectors @ self._mean).unsqueeze(1))
        return out.mul_(self._scale).mul_(scale)

    def _products(self, vectors: Tensor, out: Tensor) -> Tensor:
        """Products of fp32 vectors ``[K, D]`` with the anchors as they are kept, ``[K, A]``."""
        if out.device.type != "cpu" or len(vectors) not in _TURNED:
            return torch.mm(vectors, self._anchors.T, out=out)
        return out.copy_((self._anchors @ vectors.T).T)

    def _raw_products(self, vectors: Tensor, out: Tensor) -> Tensor:
        """`_products` of vectors in the weights' type, summed up in fp32."""
        if out.device.type == "cuda" and vectors.element_size() == 2 and _WIDENING:
            return out.copy_(torch.mm(vectors, self._anchors.T, out_dtype=torch.float32))
        exact = vectors.float()
        for block, part in zip(torch.split(self._anchors, _BLOCK), torch.split(out, _BLOCK, dim=1), strict=True):
            part.copy_((block.float() @ exact.T).T)
        return out


def mean_embedding(embedding: Tensor) -> Tensor:
    """Mean embedding ``[D]`` in fp32 without an fp32 copy of the whole."""
    total = torch.zeros(embedding.shape[1], device=embedding.device)
    for part in torch.split(embedding, 8192):
        total += part.float().sum(0)
    return total / embedding.shape[0]
