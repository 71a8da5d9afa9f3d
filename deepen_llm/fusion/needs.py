"""Requirements of fusion methods on every member."""

from __future__ import annotations

from enum import Enum


class Needs(Enum):
    """A property that a member has or lacks.

    Attributes:
        EMBEDDING: Its input token embeddings, ``[V_i, D_i]``, in this process.
        FULL_LOGITS: A logit for every token of its vocabulary.
        TOP_K: Logits of its most likely tokens; a member with FULL_LOGITS has these, too.
        TEXT: The first token of its encoding of a text in the middle of another (``first_tokens``).
    """

    EMBEDDING = "embedding"
    FULL_LOGITS = "full_logits"
    TOP_K = "top_k"
    TEXT = "text"
