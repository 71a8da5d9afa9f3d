"""A member whose tokens are compared by its output embeddings."""

from __future__ import annotations

from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import FusibleMember


def output_side(member: LocalMember) -> FusibleMember:
    """What fusion needs of a member, with the rows of its head, ``[V_i, D_i]``, as embeddings."""
    return FusibleMember(member.name, member.vocabulary, member.model.get_output_embeddings().weight.detach())
