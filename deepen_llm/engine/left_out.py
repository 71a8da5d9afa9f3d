"""The context of a member that failed, under ``on_member_failure="degrade"``: its weight is 0 from then on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from typing_extensions import override

from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Context, Member, Reading
from deepen_llm.members.text.encoding import Draft


class LeftOut(Context):
    """B sequences of which a member reads nothing: its logits are all 0, at every boundary.

    Args:
        member: The member.
        count: The number of sequences.
        trails: Whether readings have a trail at each position, an empty one.
    """

    def __init__(self, member: Member, count: int, *, trails: bool) -> None:
        self._member, self._count, self._trails = member, count, trails

    @override
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        return [list(range(len(draft) + 1)) for draft in drafts]

    @override
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        return [None] * self._count

    @override
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        lengths = [of_sequence[-1:] if ends_only else of_sequence for of_sequence in self.boundaries(drafts)]
        positions = sum(map(len, lengths))
        logits = torch.zeros(positions, self._member.vocabulary.size, device=self._member.device)
        return Reading(logits, lengths, [Trail.of()] * positions if self._trails else ())

    @override
    def check(self) -> None:
        pass

    @override
    def append(self, steps: Sequence[Draft]) -> None:
        pass

    @override
    def select(self, sequences: Sequence[int]) -> None:
        self._count = len(sequences)

    @override
    def join(self, other: Context) -> None:
        self._count += len(other.ids)
        other.close()

    @override
    def close(self) -> None:
        self._count = 0

    @override
    def reread(self, sequences: Sequence[int]) -> None:
        pass

    @property
    @override
    def ids(self) -> list[list[int]]:
        return [[] for _ in range(self._count)]
