"""The token boundaries at which a member is read before P positions, and its relevant logits there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.correspondence import Covers, Tokens
from deepen_llm.fusion.surfaces.transfer import sent

OWN, INSIDE, BEYOND = 0, 1, 2
"""Kinds of logits: of the token that the member read; of others with which the last bytes begin; of longer ones."""

_NONE = Covers(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))


class Boundary(NamedTuple):
    """One boundary.

    Attributes:
        position: The position that it precedes.
        back: How many tokens it is before the position.
        behind: The bytes between the two.
        token: The token that the member read at the boundary; -1 for ``back`` 0.
        logits: Its logits there, ``[V_i]``.
        norm: The logarithm of the sum of their exponentials; a tensor without dimensions.
    """

    position: int
    back: int
    behind: bytes
    token: int
    logits: Tensor
    norm: Tensor


class Boundaries:
    """All B boundaries of one member before P positions, and the T relevant logits there.

    Logits are gathered with one operation for each storage, however many boundaries have their logits in it.

    Args:
        tokens: The member's tokens.
        logits: Its logits at the positions, ``[P, V_i]``.
        trails: The tokens before each position.
        unfinished: Bytes after these that the member has not read.
        answered: How many of the last bytes are the answer's, at each position, where only tokens that began in the
            prompt may straddle; none by default.

    Attributes:
        unread: Whether no token begins at the position, since bytes before it are not read, or dropped, ``[P]``.
        positions: The position of each boundary, ``[B]``.
        backs: How many tokens each boundary is before it, ``[B]``.
        owns: The token that the member read there, or -1, ``[B]``.
        boundary: The boundary of each logit, in rising order, ``[T]``.
        token: The token of each logit, ``[T]``.
        kind: `OWN`, `INSIDE` or `BEYOND`, ``[T]``.
        missing: For each logit of kind `INSIDE`, how many of the last bytes follow the token.
    """

    def __init__(
        self,
        tokens: Tokens,
        logits: Tensor,
        trails: Sequence[Trail],
        unfinished: Sequence[bytes],
        answered: Sequence[int] | None = None,
    ) -> None:
        self._device = logits.device
        answer_bytes = answered or [0] * len(trails)
        unread = [trail.dropped + rest for trail, rest in zip(trails, unfinished, strict=True)]
        self.unread = np.array([len(rest) > count for rest, count in zip(unread, answer_bytes, strict=True)])
        boundaries = list(_boundaries(tokens, logits, trails, unfinished))
        storages = dict.fromkeys(_storage(boundary.logits) for boundary in boundaries)
        ranks = {storage: rank for rank, storage in enumerate(storages)}
        self._all = sorted(boundaries, key=lambda boundary: ranks[_storage(boundary.logits)])
        fields = [(boundary.position, boundary.back, boundary.token) for boundary in self._all]
        self.positions, self.backs, self.owns = np.array(fields, dtype=np.int64).reshape(-1, 3).T
        covers = [
            tokens.covers(boundary.behind) if len(boundary.behind) > answer_bytes[boundary.position] else _NONE
            for boundary in self._all
        ]
        pairs = zip(np.maximum(self.owns, 0)[:, None], covers, strict=True)
        parts = [part for own, cover in pairs for part in (own, cover.inside, cover.beyond)]
        sizes = np.array([len(part) for part in parts], dtype=np.int64)
        self.boundary = np.repeat(np.arange(len(covers)), sizes.reshape(-1, 3).sum(1))
        self.kind = np.repeat(np.arange(len(parts)) % 3, sizes)
        self.token = np.concatenate([*parts, self.owns[:0]])
        self.missing = np.concatenate([*(cover.missing for cover in covers), self.owns[:0]])

    def __len__(self) -> int:
        """The number of boundaries."""
        return len(self._all)

    def straddler(self, index: int) -> tuple[bytes, int, int]:
        """The last bytes at the boundary of a logit, the logit's token, and how many tokens back the token begins."""
        boundary = self._all[self.boundary[index]]
        return boundary.behind, int(self.token[index]), boundary.back

    def values(self) -> Tensor:
        """The logits, followed by the boundaries' norms, ``[T + B]``, on the member's device."""
        if not self._all:
            return torch.empty(0)
        offsets = np.array([boundary.logits.storage_offset() for boundary in self._all])
        (index,) = sent([self.token + offsets[self.boundary]], self._device)
        gathered = list[Tensor]()
        counts = np.bincount(self.boundary).tolist()
        for _, group in groupby(zip(self._all, counts, strict=True), key=lambda pair: _storage(pair[0].logits)):
            (first, *_), sizes = zip(*group, strict=True)
            part, index = index[: sum(sizes)], index[sum(sizes) :]
            gathered.append(_flat(first.logits).index_select(0, part))
        return torch.cat([*gathered, torch.stack([boundary.norm for boundary in self._all])])


def _boundaries(
    tokens: Tokens, logits: Tensor, trails: Sequence[Trail], unfinished: Sequence[bytes]
) -> Iterator[Boundary]:
    norms = logits.logsumexp(-1) if any(unfinished) or any(trail.dropped for trail in trails) else None
    for position, (trail, rest) in enumerate(zip(trails, unfinished, strict=True)):
        behind = trail.dropped + rest
        if behind and norms is not None:
            yield Boundary(position, 0, behind, -1, logits[position].contiguous(), norms[position])
        for back, (token, before, norm) in enumerate(zip(trail.tokens, trail.logits, trail.norms, strict=True), 1):
            behind = (tokens.surfaces[token] or b"") + behind
            yield Boundary(position, back, behind, token, before.contiguous(), norm)


def _storage(logits: Tensor) -> int:
    return logits.untyped_storage().data_ptr()


def _flat(logits: Tensor) -> Tensor:
    """All numbers of the storage of these logits; a view."""
    return logits.as_strided((logits.untyped_storage().nbytes() // logits.element_size(),), (1,), 0)
