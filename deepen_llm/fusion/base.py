"""The seam: how the members' next-token distributions become one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepen_llm.options import Options
from deepen_llm.vocabulary import Vocabulary


class Fusible(Protocol):
    """What fusion needs to know of a member."""

    @property
    def name(self) -> str:
        """The member's name, for messages."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its vocabulary as bytes."""

    @property
    def embedding(self) -> Tensor:
        """Its input token embeddings, ``[V_i, D_i]``."""


class Fusion(ABC):
    """A fusion method bound to its members.

    Args:
        members: All members.
        main: Index of the main model among them.
        one_by_one: Fuse the rows of a batch one after the other, so that memory does not grow with the batch.
    """

    def __init__(self, members: Sequence[Fusible], main: int, *, one_by_one: bool = False) -> None:
        self.main, self._one_by_one = main, one_by_one
        self._roles = [EndOfText(member.vocabulary.end_of_text) for member in members]

    @torch.inference_mode()
    def fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        """Fuse one step.

        A member's end-of-text ids count as one token, whatever their number; afterwards the main model's own share out
        their fused mass as it had it. A row in which only the main model has weight keeps its logits to the bit.

        Args:
            logits: Each member's next-token logits, fp32 ``[B, V_i]``.
            weights: Aggregation weights, ``[B, N]``; each row sums to 1.

        Returns:
            Logits over the main vocabulary, ``[B, V_m]``, on the main model's device.
        """
        own = logits[self.main]
        weights = weights.to(own.device)
        shared = weights[:, self.main] < 1  # [B]: rows in which another member has a say
        if not shared.any():
            return own
        folded = [role.fold(one[shared.to(one.device)]) for role, one in zip(self._roles, logits, strict=True)]
        say, size = weights[shared], 1 if self._one_by_one else len(weights)
        portions = [slice(first, first + size) for first in range(0, len(say), size)]
        fused = torch.cat([self._fuse([one[rows] for one in folded], say[rows]) for rows in portions])
        out = own.clone()
        out[shared] = self._roles[self.main].unfold(fused, own[shared])
        return out

    @abstractmethod
    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        """`fuse`, for logits whose end of text is one token; finite or ``-inf``, never NaN."""


class FusionMethod(Options, ABC):
    """The settings of a fusion method.

    Attributes:
        method: The name that users give it, fixed by each subclass.
    """

    method: str

    @abstractmethod
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """Bind the method to its members: anchors, spaces, whatever it computes once."""


class EndOfText:
    """A member's end-of-text role: several ids that count as one token, the primary one.

    Args:
        ids: The ids with the role, the primary one first; may be empty.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)

    def fold(self, logits: Tensor) -> Tensor:
        """Move the mass of all ids to the primary one, ``[B, V]`` to ``[B, V]``."""
        if len(self.ids) < 2:
            return logits
        out = logits.clone()
        out[:, self.ids] = -torch.inf
        out[:, self.ids[0]] = logits[:, self.ids].logsumexp(-1)
        return out

    def unfold(self, fused: Tensor, own: Tensor) -> Tensor:
        """Share the primary id's fused mass out over the ids as ``own`` had it, ``[B, V]`` each."""
        if len(self.ids) < 2:
            return fused
        out = fused.clone()
        ends = own[:, self.ids]
        ends[ends.isneginf().all(-1), 0] = 0.0  # none had any: the primary one gets all
        share = ends.log_softmax(-1)
        out[:, self.ids] = fused[:, self.ids[:1]] + share
        return out
