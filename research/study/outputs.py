"""A member whose tokens are compared by its output embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import Vocabulary


@dataclass(frozen=True)
class OutputSide:
    """What fusion needs of a member, with the rows of its head as embeddings.

    Attributes:
        name: The member's name.
        vocabulary: Its vocabulary.
        embedding: Its output embeddings, ``[V_i, D_i]``.
    """

    name: str
    vocabulary: Vocabulary
    embedding: Tensor

    @classmethod
    def of(cls, member: LocalMember) -> OutputSide:
        """The output side of a member."""
        return cls(member.name, member.vocabulary, member.model.get_output_embeddings().weight.detach())
