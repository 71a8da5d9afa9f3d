"""Vocabularies as bytes: each token's surface, and the anchors that members share (docs/method.md)."""

import deepen_llm.vocabulary.supported  # noqa: F401 - before the first module that imports transformers
from deepen_llm.vocabulary.anchors import shared_anchors
from deepen_llm.vocabulary.stored import stored_vocabulary
from deepen_llm.vocabulary.vocabulary import Vocabulary

__all__ = ["Vocabulary", "shared_anchors", "stored_vocabulary"]
