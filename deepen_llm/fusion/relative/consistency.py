"""Consistency of anchors: how much members' relative representations of each anchor agree.

Anchors can be chosen by it, and ``deepen inspect`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.cosines import Cosines
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.fusion.relative.layout import SpaceOptions, softmax_
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.storage import fingerprints, store

REFERENCES = 1024
"""The most columns of R that are compared; all rows of anchors are."""

KEPT_FROM = 2**24
"""Size of a member's anchor embeddings, ``A · D``, from which on results are kept on disk."""

_BLOCK = 1024  # anchors at a time


@dataclass(frozen=True, eq=False)
class Consistency:
    """How much members' relative representations of their shared anchors agree.

    Attributes:
        ids: The members' ids of the anchors, ``[N, A]``.
        values: Each anchor's consistency, from 0 to 1, ``[A]``; NaN if it is the only one.
        mismatched: The same between each anchor in one member and a different anchor in the other, ``[A]``.
    """

    ids: Tensor
    values: Tensor
    mismatched: Tensor

    @property
    def mean(self) -> float:
        """The mean consistency of all anchors."""
        return float(self.values.mean())

    @property
    def chance(self) -> float:
        """The mean consistency of mismatched anchors: the baseline for unrelated tokens."""
        return float(self.mismatched.mean())

    def deciles(self) -> tuple[float, ...]:
        """The values that 0, 10, ..., 100 % of the anchors do not exceed: eleven numbers."""
        return self.quantiles([tenths / 10 for tenths in range(11)])

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """The values that some shares of the anchors, from 0 to 1, do not exceed."""
        return tuple(np.quantile(self.values.numpy(), shares).tolist())

    def ranked(self) -> list[int]:
        """The anchors' columns, the most consistent first; equal ones in their order."""
        return [int(column) for column in self.values.argsort(descending=True, stable=True)]


def consistency(members: Sequence[Fusible], ids: Tensor, options: SpaceOptions) -> Consistency:
    """Compare two or more members' relative representations of every anchor.

    With ``R_i`` the members' relative representations over at most `REFERENCES` evenly spaced anchors, in the space
    that ``options`` define over all anchors, and all pairs of members ``i < j``:

        values[a]     = mean_{i<j} cos(R_i[a, ≠a], R_j[a, ≠a])
        mismatched[a] = mean_{i<j} cos(R_i[a, ≠a], R_j[b, ≠b]),   b: another anchor, half a block of 1,024 further on

    The cost is a product of ``[A, D]`` and ``[D, 1024]`` per member, computed block by block. For large vocabularies
    the result is kept on disk.

    Args:
        members: The members, N of them.
        ids: Their ids of the anchors, ``[N, A]`` (`deepen_llm.vocabulary.shared_anchors`).
        options: The options of their relative spaces; a fusion method holds them.
    """
    if not is_worth_keeping(members, ids):
        return Consistency(ids, *_compared(members, ids, options))
    settings = [options.center, options.normalize_rows, options.temperature, options.self_mass, REFERENCES, _BLOCK]
    key = fingerprints.fingerprint(["consistency", *key_parts(members, ids), *settings, torch.__version__])
    names = ("values", "mismatched")
    stored = store.kept("consistency", key, lambda: dict(zip(names, _compared(members, ids, options), strict=True)))
    return Consistency(ids, stored["values"], stored["mismatched"])


def is_worth_keeping(members: Sequence[Fusible], ids: Tensor) -> bool:
    """Whether computing from these members' anchors, ids ``[..., A]``, takes so long that results are kept on disk."""
    return max(embedding_of(member).shape[1] for member in members) * ids.shape[-1] >= KEPT_FROM


def key_parts(members: Sequence[Fusible], ids: Tensor) -> list[str]:
    """The parts of a key on disk that identify members and their anchors, ids ``[..., A]``."""
    return [*(fingerprints.of_embedding(embedding_of(member)) for member in members), fingerprints.of_tensor(ids)]


@torch.inference_mode()
def _compared(members: Sequence[Fusible], ids: Tensor, options: SpaceOptions) -> tuple[Tensor, Tensor]:
    views = [AnchorView(member, member_ids, options) for member, member_ids in zip(members, ids, strict=True)]
    count = ids.shape[1]
    blocks = torch.arange(count).tensor_split(-(-count // _BLOCK))  # of two anchors or more, no block has a single one
    parts = [_measures([view.rows(block) for view in views]) for block in blocks]
    values, mismatched = (torch.cat(part).clamp_(max=1.0) for part in zip(*parts, strict=True))
    return values, mismatched


def _measures(rows: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the consistency of a block of anchors, then that of mismatched ones, ``[K]`` each, from N of ``[K, U]``."""
    for shift in (0, max(1, len(rows[0]) // 2)):
        cosines = [
            F.cosine_similarity(first, second.roll(shift, 0), eps=1e-30) for first, second in combinations(rows, 2)
        ]
        yield torch.stack(cosines).mean(0)


class AnchorView:
    """A member's relative representations of its anchors over at most `REFERENCES` of them, each without itself.

    Args:
        member: The member.
        ids: Its ids of the anchors, ``[A]``.
        options: The options of its relative space.
    """

    def __init__(self, member: Fusible, ids: Tensor, options: SpaceOptions) -> None:
        self._member, self._ids, self._options = member, ids, options
        references = torch.linspace(0, len(ids) - 1, min(len(ids), REFERENCES)).long()  # [U]
        self._columns = torch.full((len(ids),), -1)  # of each anchor among the references
        self._columns[references] = torch.arange(len(references))
        self._width = len(references)
        embedding = embedding_of(member)
        self._cosines = Cosines(embedding, ids[references].to(embedding.device), center=options.center)
        self._temperature = options.temperature

    def cosines(self, columns: Tensor) -> Tensor:
        """Cosines of anchors with the references under the options, ``[K]`` to ``[K, U]``; 0 with themselves."""
        device, count = self._cosines.device, len(self._ids)
        tokens = self._ids[columns].to(device)
        scores = self._cosines.write(tokens, torch.empty(len(columns), self._width, device=device)).cpu()
        scores[self._selves(columns)] = 0.0
        if self._options.normalize_rows:  # by the norm over all anchors, estimated from the references
            others = (self._width - (self._columns[columns] >= 0).long()).clamp(min=1)
            squares = scores.square().sum(1) / others * (count - 1) + 1  # and 1, the square of the cosine with itself
            scores /= squares.sqrt().unsqueeze(1)
        return scores

    def rows(self, columns: Tensor) -> Tensor:
        """Relative representations from these cosines: rows that sum to 1, ``[K, U]``, on the CPU."""
        scores = self.cosines(columns).mul_(self._calibrated_temperature())
        scores[self._selves(columns)] = -torch.inf
        return softmax_(scores)

    def _selves(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """The index of each entry that compares an anchor with itself."""
        references = self._columns[columns]
        return (references >= 0).nonzero()[:, 0], references[references >= 0]

    def _calibrated_temperature(self) -> float:
        if self._temperature is None:
            member = self._member
            space = RelativeSpace(embedding_of(member), self._ids, self._options, member.vocabulary.size, dense=False)
            self._temperature = space.layout.temperature
        return self._temperature
