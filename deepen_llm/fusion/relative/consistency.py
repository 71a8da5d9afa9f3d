"""How alike members see each single anchor: what anchors can be chosen by, and what `deepen inspect` shows."""

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
"""The most anchors that a representation is looked at over: every anchor's row, but not every column of it."""

KEPT_FROM = 2**24
"""Numbers in a member's anchor embeddings, ``A · D``, from which on what is found, in a while, is kept on disk."""

_BLOCK = 1024  # anchors at a time


@dataclass(frozen=True, eq=False)
class Consistency:
    """How alike members see each of their shared anchors.

    Attributes:
        ids: The members' ids of the anchors, ``[N, A]``.
        values: Each anchor's consistency, from 0 to 1, ``[A]``; NaN if it is the only one.
        mismatched: The same between each anchor in one member and another anchor in the other, ``[A]``: chance.
    """

    ids: Tensor
    values: Tensor
    mismatched: Tensor

    @property
    def mean(self) -> float:
        """The consistency of all anchors together."""
        return float(self.values.mean())

    @property
    def chance(self) -> float:
        """What it would be if the members' anchors had nothing to do with each other."""
        return float(self.mismatched.mean())

    def deciles(self) -> tuple[float, ...]:
        """The values that 0, 10, ..., 100 % of the anchors do not exceed: eleven numbers."""
        return self.quantiles([place / 10 for place in range(11)])

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """The values that some shares of the anchors, from 0 to 1, do not exceed."""
        return tuple(np.quantile(self.values.numpy(), shares).tolist())

    def ranked(self) -> list[int]:
        """The anchors' columns, the most consistent first; of equal ones, the first."""
        return [int(column) for column in self.values.argsort(descending=True, stable=True)]


def consistency(members: Sequence[Fusible], ids: Tensor, options: SpaceOptions) -> Consistency:
    """Compare two or more members' relative representations of every anchor.

    With ``R_i`` the members' relative representations over at most `REFERENCES` of the anchors, evenly spaced, in the
    space that ``options`` lay out over all of them, and all pairs of members ``i < j``:

        values[a]     = mean_{i<j} cos(R_i[a, ≠a], R_j[a, ≠a])
        mismatched[a] = mean_{i<j} cos(R_i[a, ≠a], R_j[b, ≠b]),   b: another anchor, half a block of 1,024 further on

    The cost is a product of ``[A, D]`` and ``[D, 1024]`` per member, whose result exists a block at a time. For large
    vocabularies the outcome is kept on disk.

    Args:
        members: The members, N of them.
        ids: Their ids of the anchors, ``[N, A]`` (`deepen_llm.vocabulary.shared_anchors`).
        options: The layout of their relative spaces, such as a fusion method.
    """
    if not takes_a_while(members, ids):
        return Consistency(ids, *_compared(members, ids, options))
    chosen = [options.center, options.normalize_rows, options.temperature, options.self_mass, REFERENCES, _BLOCK]
    key = fingerprints.fingerprint(["consistency", *made_of(members, ids), *chosen, torch.__version__])
    names = ("values", "mismatched")
    found = store.kept("consistency", key, lambda: dict(zip(names, _compared(members, ids, options), strict=True)))
    return Consistency(ids, found["values"], found["mismatched"])


def takes_a_while(members: Sequence[Fusible], ids: Tensor) -> bool:
    """Whether what is computed from these members' anchors, ids ``[..., A]``, is worth keeping on disk."""
    return max(embedding_of(member).shape[1] for member in members) * ids.shape[-1] >= KEPT_FROM


def made_of(members: Sequence[Fusible], ids: Tensor) -> list[str]:
    """The parts of a key on disk that tell some members and their anchors, ids ``[..., A]``, from others."""
    return [*(fingerprints.of_embedding(embedding_of(member)) for member in members), fingerprints.of_tensor(ids)]


@torch.inference_mode()
def _compared(members: Sequence[Fusible], ids: Tensor, options: SpaceOptions) -> tuple[Tensor, Tensor]:
    views = [AnchorView(member, one, options) for member, one in zip(members, ids, strict=True)]
    count = ids.shape[1]
    blocks = torch.arange(count).tensor_split(-(-count // _BLOCK))  # none has one anchor alone, if there are two
    parts = [_measures([view.rows(block) for view in views]) for block in blocks]
    values, mismatched = (torch.cat(part).clamp_(max=1.0) for part in zip(*parts, strict=True))
    return values, mismatched


def _measures(rows: Sequence[Tensor]) -> Iterator[Tensor]:
    """The consistency of a block of anchors, and that of mismatched ones, ``[K]`` each, from N of ``[K, U]``."""
    for shift in (0, max(1, len(rows[0]) // 2)):
        pairs = combinations(rows, 2)
        yield torch.stack([F.cosine_similarity(one, other.roll(shift, 0), eps=1e-30) for one, other in pairs]).mean(0)


class AnchorView:
    """A member's relative representations of its anchors over at most `REFERENCES` of them, each without itself.

    Args:
        member: The member.
        ids: Its ids of the anchors, ``[A]``.
        options: The layout of its relative space.
    """

    def __init__(self, member: Fusible, ids: Tensor, options: SpaceOptions) -> None:
        self._member, self._ids, self._options = member, ids, options
        references = torch.linspace(0, len(ids) - 1, min(len(ids), REFERENCES)).long()  # [U]
        self._places = torch.full((len(ids),), -1)  # of an anchor among the references
        self._places[references] = torch.arange(len(references))
        self._width = len(references)
        embedding = embedding_of(member)
        self._cosines = Cosines(embedding, ids[references].to(embedding.device), center=options.center)
        self._temperature = options.temperature

    def cosines(self, columns: Tensor) -> Tensor:
        """Some anchors' cosines with the references as the options have them, 0 with itself: ``[K]`` to ``[K, U]``."""
        device, count = self._cosines.device, len(self._ids)
        tokens = self._ids[columns].to(device)
        scores = self._cosines.write(tokens, torch.empty(len(columns), self._width, device=device)).cpu()
        scores[self._own(columns)] = 0.0
        if self._options.normalize_rows:  # by the length that the row has over all anchors, of which it is a sample
            others = (self._width - (self._places[columns] >= 0).long()).clamp(min=1)
            squares = scores.square().sum(1) / others * (count - 1) + 1  # with the anchor itself, of cosine 1
            scores /= squares.sqrt().unsqueeze(1)
        return scores

    def rows(self, columns: Tensor) -> Tensor:
        """Their representations, from the same cosines: rows that sum to 1, ``[K, U]``, on the CPU."""
        scores = self.cosines(columns).mul_(self._found_temperature())
        scores[self._own(columns)] = -torch.inf
        return softmax_(scores)

    def _own(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        places = self._places[columns]
        return (places >= 0).nonzero()[:, 0], places[places >= 0]

    def _found_temperature(self) -> float:
        if self._temperature is None:
            member = self._member
            space = RelativeSpace(embedding_of(member), self._ids, self._options, member.vocabulary.size, dense=False)
            self._temperature = space.layout.temperature
        return self._temperature
