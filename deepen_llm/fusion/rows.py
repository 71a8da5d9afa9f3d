"""The map R between token distributions and the relative space, whole or for the tokens that matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


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
    """Rows for the tokens that matter; the others share the mean row."""

    def __init__(self, tokens: Sequence[Tensor], rows: Sequence[Tensor], mean_row: Tensor, size: int) -> None:
        self._tokens, self._rows = tokens, rows  # B of [K_b], B of [K_b, A]
        self._mean, self._size = mean_row, size  # [A], V

    def into(self, p: Tensor) -> Tensor:
        """See `Rows`."""
        out = []
        for row, ids, matrix in zip(p, self._tokens, self._rows, strict=True):
            tail = row.index_fill(0, ids, 0.0).sum()
            out.append(row[ids] @ matrix + tail * self._mean)
        return torch.stack(out)

    def back(self, g: Tensor) -> Tensor:
        """See `Rows`."""
        values = (g @ self._mean).unsqueeze(1).repeat(1, self._size)  # [B, V]
        for value, row, ids, matrix in zip(values, g, self._tokens, self._rows, strict=True):
            value[ids] = matrix @ row
        return values
