"""A member whose tokens are compared by its output embeddings."""

from __future__ import annotations

from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import FusibleMember


def output_side(member: LocalMember) -> FusibleMember:
    """A member as fusion methods read it, with its output embeddings, ``[V_i, D_i]``, as its embeddings."""
    return FusibleMember(member.name, member.vocabulary, member.model.get_output_embeddings().weight.detach())
