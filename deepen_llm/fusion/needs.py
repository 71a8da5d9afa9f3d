"""What a fusion method needs of every member."""

from __future__ import annotations

from enum import Enum


class Needs(Enum):
    """One thing that a member may have or lack.

    Attributes:
        EMBEDDING: Its input token embeddings, ``[V_i, D_i]``, in this process.
        FULL_LOGITS: A logit for every token of its vocabulary.
        TOP_K: Logits of its most likely tokens; a member with all of them has these, too.
        TEXT: The tokens with which it begins a text in the middle of another (``first_tokens``).
    """

    EMBEDDING = "embedding"
    FULL_LOGITS = "full_logits"
    TOP_K = "top_k"
    TEXT = "text"
