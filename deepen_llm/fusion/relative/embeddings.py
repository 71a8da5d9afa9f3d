"""Access to a member's embeddings, for methods that need them."""

from __future__ import annotations

from torch import Tensor

from deepen_llm.errors import ConfigError
from deepen_llm.fusion.base import Fusible


def embedding_of(member: Fusible) -> Tensor:
    """A member's input token embeddings, ``[V_i, D_i]``.

    Raises:
        ConfigError: The member has none that can be read as numbers.
    """
    if member.embedding is None:
        raise ConfigError(
            f"expected token embeddings that this fusion method can read as numbers, got that the token embeddings of "
            f"member {member.name} {member.missing_embedding}",
            hint="give fusion='surface', which needs none, or load the member with plain embeddings in memory: "
            "quantize its linear layers only, and give a device_map with room for the embeddings",
        )
    return member.embedding
