"""The map R between token distributions and the relative space: dense, or with rows for the likely tokens only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override


class Rows(Protocol):
    """The relative representations that one step uses, as the linear map R between ``[B, V]`` and ``[B, A]``.

    The map has an order of tokens of its own, in which its products gather nothing. `to_map_order` brings values into
    it, and `to_token_order` brings them back into the vocabulary's order.
    """

    def to_map_order(self, values: Tensor) -> Tensor:
        """A value per token, ``[B, V]``, in the map's order; may be the argument itself."""

    def to_token_order(self, values: Tensor) -> Tensor:
        """A value per token, ``[B, V]``, from the map's order to the vocabulary's; may be the argument itself."""

    def to_anchors(self, p: Tensor) -> Tensor:
        """``p R``: distributions ``[B, V]``, in the map's order, to relative distributions, ``[B, A]``."""

    def to_anchors_once(self, p: Tensor) -> Tensor:
        """`to_anchors`, for distributions in the vocabulary's order, whose sum is 1 but for rounding."""

    def to_tokens(self, g: Tensor) -> Tensor:
        """``g Rᵀ``: a value per anchor, ``[B, A]``, to a value per token, ``[B, V]``, in the map's order."""


class DenseRows(Rows):
    """All of R as one matrix: the reference, and the fastest form where it is small; in the vocabulary's order."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix  # [V, A]

    @override
    def to_map_order(self, values: Tensor) -> Tensor:
        return values

    @override
    def to_token_order(self, values: Tensor) -> Tensor:
        return values

    @override
    def to_anchors(self, p: Tensor) -> Tensor:
        return p @ self._matrix

    @override
    def to_anchors_once(self, p: Tensor) -> Tensor:
        return self.to_anchors(p)

    @override
    def to_tokens(self, g: Tensor) -> Tensor:
        return g @ self._matrix.T


@dataclass(frozen=True)
class AnchorsFirst:
    """A vocabulary with the anchors before all other tokens.

    Attributes:
        order: Token ids in that order, ``[V]``.
        positions: Each token's position in it, ``[V]``.
        anchors: How many of them are anchors, A.
    """

    order: Tensor
    positions: Tensor
    anchors: int

    @classmethod
    def of(cls, anchors: Tensor, size: int) -> AnchorsFirst:
        """Put these ids ``[A]`` before all others of a vocabulary of ``size`` tokens."""
        others = torch.ones(size, dtype=torch.bool, device=anchors.device)
        others[anchors] = False
        order = torch.cat([anchors, others.nonzero()[:, 0]])
        positions = torch.empty_like(order)
        positions[order] = torch.arange(size, device=anchors.device)
        return cls(order, positions, len(anchors))


class TopRows(Rows):
    """Rows for U tokens, each used for some sequences of the batch; all other tokens have stand-ins.

    The stand-in of an anchor is ``self_mass · onehot(itself)`` plus one row that all anchors share; that of any other
    token is one row that all of these share. The two shared rows are the last ones of ``rows``. The map's order has the
    anchors first.

    Args:
        tokens: Tokens with rows, ``[U]``; a token repeats only where different sequences use its copies.
        used: Which of them each sequence of the batch uses, ``[B, U]``.
        rows: Their relative representations, then the anchors' and the other tokens' stand-in, ``[U + 2, A]``.
        self_mass: The mass that an anchor's stand-in puts on itself.
        vocabulary: The tokens, anchors first.
    """

    def __init__(
        self, tokens: Tensor, used: Tensor, rows: Tensor, *, self_mass: float, vocabulary: AnchorsFirst
    ) -> None:
        self._tokens, self._used = tokens, used
        self._rows, self._self_mass = rows, self_mass
        self._vocabulary = vocabulary
        self._positions = vocabulary.positions[tokens]  # [U]
        extra = len(vocabulary.order)  # a column behind all tokens, into which unused entries are written
        self._targets = torch.where(used, self._positions, extra)  # [B, U]

    @override
    def to_map_order(self, values: Tensor) -> Tensor:
        return values.index_select(1, self._vocabulary.order)

    @override
    def to_token_order(self, values: Tensor) -> Tensor:
        return values.index_select(1, self._vocabulary.positions)

    @override
    def to_anchors(self, p: Tensor) -> Tensor:
        tail = F.pad(p, (0, 1)).scatter_(1, self._targets, 0.0)  # [B, V + 1]
        anchors, others = tail[:, : self._vocabulary.anchors], tail[:, self._vocabulary.anchors : -1]
        return self._product(anchors, others.sum(1, keepdim=True), p.index_select(1, self._positions) * self._used)

    @override
    def to_anchors_once(self, p: Tensor) -> Tensor:
        count, with_rows = self._vocabulary.anchors, p.index_select(1, self._tokens) * self._used
        anchors = F.pad(p.index_select(1, self._vocabulary.order[:count]), (0, 1))
        anchors = anchors.scatter_(1, self._targets.clamp(max=count), 0.0)[:, :-1]
        others = 1 - anchors.sum(1, keepdim=True) - with_rows.sum(1, keepdim=True)
        return self._product(anchors, others.clamp_min_(0.0), with_rows)

    def _product(self, anchors: Tensor, others: Tensor, with_rows: Tensor) -> Tensor:
        """``p R``, from the masses of the three kinds of tokens.

        Args:
            anchors: The mass of each anchor that has a stand-in, ``[B, A]``.
            others: The mass of all other tokens that have a stand-in, ``[B, 1]``.
            with_rows: The mass of each token that has a row, ``[B, U]``.
        """
        weights = torch.cat([with_rows, anchors.sum(1, keepdim=True), others], 1)  # [B, U + 2]
        return torch.addmm(anchors, weights, self._rows, beta=self._self_mass)

    @override
    def to_tokens(self, g: Tensor) -> Tensor:
        values, count = g @ self._rows.T, self._vocabulary.anchors  # [B, U + 2]
        out = values.new_empty(len(g), len(self._vocabulary.order) + 1)  # [B, V + 1]
        torch.add(values[:, -2:-1], g, alpha=self._self_mass, out=out[:, :count])
        out[:, count:] = values[:, -1:]
        return out.scatter_(1, self._targets, values[:, :-2])[:, :-1]
