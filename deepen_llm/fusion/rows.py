"""The map R between token distributions and the relative space, whole or for the tokens that matter."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Rows(Protocol):
    """The relative representations in force for one step, as the linear map R between ``[B, V]`` and ``[B, A]``."""

    def into(self, p: Tensor) -> Tensor:
        """``p R``: ``[B, V]`` into the relative space, ``[B, A]``."""

    def back(self, g: Tensor) -> Tensor:
        """``g Rᵀ``: a value per anchor, ``[B, A]``, to a value per token, ``[B, V]``."""


class DenseRows:
    """All of R at once: the reference, and the fastest where it is small."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix  # [V, A]

    def into(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        return p @ self._matrix

    def back(self, g: Tensor) -> Tensor:
        """See `Rows`."""
        return g @ self._matrix.T


class TopRows:
    """Rows for U tokens, each in force for some rows of the batch; all other tokens have stand-ins.

    An anchor stands as ``own · onehot(itself)`` plus one row that all anchors share, any other token as one row that
    these share: ``own`` and the two rows, the last ones of ``rows``, are all that is needed.

    Args:
        tokens: Tokens with rows, ``[U]``; more than once only where they are in force for different rows of the batch.
        inforce: For which rows of the batch each is in force, ``[B, U]``.
        rows: Their relative representations, then the anchors' and the other tokens' stand-in, ``[U + 2, A]``.
        own: The mass that an anchor's stand-in puts on itself.
        anchors: Ids of the anchors, ``[A]``.
        places: Each token's place among the anchors, A where it is none, ``[V + 1]``: one more than there are tokens.
    """

    def __init__(
        self, tokens: Tensor, inforce: Tensor, rows: Tensor, *, own: float, anchors: Tensor, places: Tensor
    ) -> None:
        self._tokens, self._inforce, self._rows = tokens, inforce, rows
        self._own, self._anchors, self._places = own, anchors, places
        self._targets = torch.where(inforce, tokens, len(places) - 1)  # [B, U]; the extra token takes what is not meant

    def into(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        tail = F.pad(p, (0, 1)).scatter_(1, self._targets, 0.0)  # [B, V + 1]
        out = tail.index_select(1, self._anchors)  # [B, A]
        on_anchors = out.sum(1, keepdim=True)
        on_others = (tail.sum(1, keepdim=True) - on_anchors).clamp_min_(0.0)
        weights = torch.cat([p.index_select(1, self._tokens) * self._inforce, on_anchors, on_others], 1)  # [B, U + 2]
        return out.mul_(self._own).addmm_(weights, self._rows)

    def back(self, g: Tensor) -> Tensor:
        """See `Rows`."""
        values = g @ self._rows.T  # [B, U + 2]
        stand_ins = torch.cat([(g * self._own).add_(values[:, -2:-1]), values[:, -1:]], 1)  # [B, A + 1]
        out = stand_ins.index_select(1, self._places)  # [B, V + 1]
        return out.scatter_(1, self._targets, values[:, :-2])[:, :-1]
