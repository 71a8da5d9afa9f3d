"""The map R between token distributions and the relative space, whole or for the tokens that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Rows(Protocol):
    """The relative representations in force for one step, as the linear map R between ``[B, V]`` and ``[B, A]``.

    The map has an order of tokens of its own, in which its products gather nothing. `to_map_order` brings values into
    it, and `to_token_order` brings them back into the vocabulary's order.
    """

    def to_map_order(self, values: Tensor) -> Tensor:
        """A value per token, ``[B, V]``, in the map's order; may be the argument itself."""

    def to_token_order(self, values: Tensor) -> Tensor:
        """A value per token, ``[B, V]``, back in the vocabulary's order; may be the argument itself."""

    def to_anchors(self, p: Tensor) -> Tensor:
        """``p R``: distributions ``[B, V]``, in the map's order, into the relative space, ``[B, A]``."""

    def to_anchors_once(self, p: Tensor) -> Tensor:
        """`to_anchors`, for distributions in the vocabulary's order, whose sum is 1 but for rounding."""

    def to_tokens(self, g: Tensor) -> Tensor:
        """``g Rᵀ``: a value per anchor, ``[B, A]``, to a value per token, ``[B, V]``, in the map's order."""


class DenseRows:
    """All of R at once: the reference, and the fastest where it is small; in the vocabulary's order."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix  # [V, A]

    def to_map_order(self, values: Tensor) -> Tensor:
        """See `Rows`."""
        return values

    def to_token_order(self, values: Tensor) -> Tensor:
        """See `Rows`."""
        return values

    def to_anchors(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        return p @ self._matrix

    def to_anchors_once(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        return self.to_anchors(p)

    def to_tokens(self, g: Tensor) -> Tensor:
        """See `Rows`."""
        return g @ self._matrix.T


@dataclass(frozen=True)
class AnchorsFirst:
    """A vocabulary with the anchors before all other tokens.

    Attributes:
        order: Token ids in that order, ``[V]``.
        places: Each token's place in it, ``[V]``.
        anchors: How many of them are anchors, A.
    """

    order: Tensor
    places: Tensor
    anchors: int

    @classmethod
    def of(cls, anchors: Tensor, size: int) -> AnchorsFirst:
        """Put these ids ``[A]`` before all others of a vocabulary of ``size`` tokens."""
        others = torch.ones(size, dtype=torch.bool, device=anchors.device)
        others[anchors] = False
        order = torch.cat([anchors, others.nonzero()[:, 0]])
        places = torch.empty_like(order)
        places[order] = torch.arange(size, device=anchors.device)
        return cls(order, places, len(anchors))


class TopRows:
    """Rows for U tokens, each in force for some rows of the batch; all other tokens have stand-ins.

    An anchor stands as ``own · onehot(itself)`` plus one row that all anchors share, any other token as one row that
    these share: ``own`` and the two rows, the last ones of ``rows``, are all that is needed. The map's order has the
    anchors first.

    Args:
        tokens: Tokens with rows, ``[U]``; more than once only where they are in force for different rows of the batch.
        inforce: For which rows of the batch each is in force, ``[B, U]``.
        rows: Their relative representations, then the anchors' and the other tokens' stand-in, ``[U + 2, A]``.
        own: The mass that an anchor's stand-in puts on itself.
        vocabulary: The tokens, anchors first.
    """

    def __init__(self, tokens: Tensor, inforce: Tensor, rows: Tensor, *, own: float, vocabulary: AnchorsFirst) -> None:
        self._tokens, self._inforce, self._rows, self._own = tokens, inforce, rows, own
        self._vocabulary = vocabulary
        self._places = vocabulary.places[tokens]  # [U]
        extra = len(vocabulary.order)  # a place behind all tokens, which takes what is not meant
        self._targets = torch.where(inforce, self._places, extra)  # [B, U]

    def to_map_order(self, values: Tensor) -> Tensor:
        """See `Rows`."""
        return values.index_select(1, self._vocabulary.order)

    def to_token_order(self, values: Tensor) -> Tensor:
        """See `Rows`."""
        return values.index_select(1, self._vocabulary.places)

    def to_anchors(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        tail = F.pad(p, (0, 1)).scatter_(1, self._targets, 0.0)  # [B, V + 1]
        anchors, others = tail[:, : self._vocabulary.anchors], tail[:, self._vocabulary.anchors : -1]
        return self._to_anchors(anchors, others.sum(1, keepdim=True), p.index_select(1, self._places) * self._inforce)

    def to_anchors_once(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        count, own = self._vocabulary.anchors, p.index_select(1, self._tokens) * self._inforce
        anchors = F.pad(p.index_select(1, self._vocabulary.order[:count]), (0, 1))
        anchors = anchors.scatter_(1, self._targets.clamp(max=count), 0.0)[:, :-1]
        others = 1 - anchors.sum(1, keepdim=True) - own.sum(1, keepdim=True)
        return self._to_anchors(anchors, others.clamp_min_(0.0), own)

    def _to_anchors(self, anchors: Tensor, others: Tensor, own: Tensor) -> Tensor:
        """``p R``, from the anchors' stand-ins ``[B, A]``, the other ones' mass and the tokens with rows ``[B, U]``."""
        weights = torch.cat([own, anchors.sum(1, keepdim=True), others], 1)  # [B, U + 2]
        return torch.addmm(anchors, weights, self._rows, beta=self._own)

    def to_tokens(self, g: Tensor) -> Tensor:
        """See `Rows`."""
        values, count = g @ self._rows.T, self._vocabulary.anchors  # [B, U + 2]
        out = values.new_empty(len(g), len(self._vocabulary.order) + 1)  # [B, V + 1]
        torch.add(values[:, -2:-1], g, alpha=self._own, out=out[:, :count])
        out[:, count:] = values[:, -1:]
        return out.scatter_(1, self._targets, values[:, :-2])[:, :-1]
