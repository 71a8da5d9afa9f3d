"""The token boundaries at which a member is read before P places, and its logits that matter there."""

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
"""Logits of the token that the member read, of others that the last bytes begin with, of those that go on behind."""


_NONE = Covers(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))


class Boundary(NamedTuple):
    """One boundary.

    Attributes:
        place: Which place it is before.
        back: How many tokens before it.
        behind: The bytes between them.
        token: The token that the member read there; -1 for ``back`` 0.
        logits: Its logits there, ``[V_i]``.
        norm: The logarithm of the sum of their exponentials; a tensor without dimensions.
    """

    place: int
    back: int
    behind: bytes
    token: int
    logits: Tensor
    norm: Tensor


class Boundaries:
    """All boundaries of one member before P places, B of them, and the T logits that matter there.

    Logits are looked up where they lie: once for each storage, however many boundaries have theirs in it.

    Args:
        tokens: The member's tokens.
        logits: Its logits at the places, ``[P, V_i]``.
        trails: The tokens before each of them.
        unfinished: Bytes behind these that the member has not heard.
        answered: How many of the last bytes are the answer's, at each place, where only tokens that began in the prompt
            may straddle; none by default.

    Attributes:
        unheard: Whether no token begins at the place, as bytes are unheard, or dropped by the tokenizer, ``[P]``.
        places: The place of each boundary, ``[B]``.
        backs: How many tokens before it, ``[B]``.
        owns: The token that the member read there, or -1, ``[B]``.
        boundary: Which one each of the logits is at, in rising order, ``[T]``.
        token: Which token's it is, ``[T]``.
        kind: `OWN`, `INSIDE` or `BEYOND`, ``[T]``.
        missing: For those inside, how many bytes the token lacks of the last ones.
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
        own = answered or [0] * len(trails)
        unheard = [one.dropped + rest for one, rest in zip(trails, unfinished, strict=True)]
        self.unheard = np.array([len(rest) > count for rest, count in zip(unheard, own, strict=True)])
        found = list(_boundaries(tokens, logits, trails, unfinished))
        storages = {one: number for number, one in enumerate(dict.fromkeys(_storage(one.logits) for one in found))}
        self._all = sorted(found, key=lambda one: storages[_storage(one.logits)])
        self.places, self.backs, self.owns = (
            np.array([(one.place, one.back, one.token) for one in self._all], dtype=np.int64).reshape(-1, 3).T
        )
        covers = [tokens.covers(one.behind) if len(one.behind) > own[one.place] else _NONE for one in self._all]
        pairs = zip(np.maximum(self.owns, 0)[:, None], covers, strict=True)
        parts = [part for read, cover in pairs for part in (read, cover.inside, cover.beyond)]
        sizes = np.array([len(part) for part in parts], dtype=np.int64)
        self.boundary = np.repeat(np.arange(len(covers)), sizes.reshape(-1, 3).sum(1))
        self.kind = np.repeat(np.arange(len(parts)) % 3, sizes)
        self.token = np.concatenate([*parts, self.owns[:0]])
        self.missing = np.concatenate([*(cover.missing for cover in covers), self.owns[:0]])

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def told(self, which: int) -> tuple[bytes, int, int]:
        """The last bytes at the boundary of one of the logits, its token, and how many tokens back that begins."""
        one = self._all[self.boundary[which]]
        return one.behind, int(self.token[which]), one.back

    def look(self) -> Tensor:
        """The logits, and behind them the boundaries' norms, ``[T + B]``, on the member's device."""
        if not self._all:
            return torch.empty(0)
        offsets = np.array([one.logits.storage_offset() for one in self._all])
        (index,) = sent([self.token + offsets[self.boundary]], self._device)
        found = list[Tensor]()
        counts = np.bincount(self.boundary).tolist()
        for _, group in groupby(zip(self._all, counts, strict=True), key=lambda pair: _storage(pair[0].logits)):
            (first, *_), sizes = zip(*group, strict=True)
            part, index = index[: sum(sizes)], index[sum(sizes) :]
            found.append(_flat(first.logits).index_select(0, part))
        return torch.cat([*found, torch.stack([one.norm for one in self._all])])


def _boundaries(
    tokens: Tokens, logits: Tensor, trails: Sequence[Trail], unfinished: Sequence[bytes]
) -> Iterator[Boundary]:
    norms = logits.logsumexp(-1) if any(unfinished) or any(one.dropped for one in trails) else None
    for place, (trail, rest) in enumerate(zip(trails, unfinished, strict=True)):
        behind = trail.dropped + rest
        if behind and norms is not None:
            yield Boundary(place, 0, behind, -1, logits[place].contiguous(), norms[place])
        for back, (token, one, norm) in enumerate(zip(trail.tokens, trail.logits, trail.norms, strict=True), 1):
            behind = (tokens.surfaces[token] or b"") + behind
            yield Boundary(place, back, behind, token, one.contiguous(), norm)


def _storage(row: Tensor) -> int:
    return row.untyped_storage().data_ptr()


def _flat(row: Tensor) -> Tensor:
    """All numbers of the storage that a row lies in; a view."""
    return row.as_strided((row.untyped_storage().nbytes() // row.element_size(),), (1,), 0)
