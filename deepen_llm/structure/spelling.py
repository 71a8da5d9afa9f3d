"""Text as tokens without a tokenizer: byte-exact for any vocabulary."""

from __future__ import annotations

from deepen_llm.vocabulary import Vocabulary

_LONGEST = 32  # bytes; longer tokens are runs of spaces and the like


def spell(vocabulary: Vocabulary, text: bytes) -> list[int] | None:
    """The text's tokens, always the longest that comes next; None where a byte has none.

    Args:
        vocabulary: The vocabulary.
        text: What to spell.
    """
    tokens: list[int] = []
    while text:
        sizes = range(min(_LONGEST, len(text)), 0, -1)
        size = next((n for n in sizes if text[:n] in vocabulary.ids), 0)
        if not size:
            return None
        tokens.append(vocabulary.ids[text[:size]])
        text = text[size:]
    return tokens
