"""The first token of a text in the middle of another, as a tokenizer writes it there."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.members.text.encoding import LEADS, TextEncoder
from deepen_llm.vocabulary import Vocabulary


def first_tokens(encoder: TextEncoder, vocabulary: Vocabulary, texts: Sequence[bytes]) -> list[int]:
    """See `Member.first_tokens`.

    The tokenizer encodes each text after a character that shares no token with it. Bytes that end inside a character
    cannot be encoded; for them, the result is the longest token that they begin with.

    Args:
        encoder: The member's tokenizer.
        vocabulary: Its vocabulary.
        texts: The texts.
    """
    decoded = [_decoded(text) for text in texts]
    tokens = [-1 if plain is not None else vocabulary.longest(text) for text, plain in zip(texts, decoded, strict=True)]
    pending = [i for i, plain in enumerate(decoded) if plain]
    for lead in LEADS[1:]:
        head, failed = encoder.encode_text(lead).ids, list[int]()
        for i, ids in zip(pending, encoder.encode_texts([f"{lead}{decoded[i]}" for i in pending]), strict=True):
            is_apart = len(ids) > len(head) and ids[: len(head)] == head
            if is_apart and _begins(vocabulary, ids[len(head)], texts[i]):
                tokens[i] = ids[len(head)]
            else:
                failed.append(i)
        pending = failed
    return tokens


def _begins(vocabulary: Vocabulary, id_: int, text: bytes) -> bool:
    """Whether a token spells the beginning of a text."""
    surface = vocabulary.surfaces[id_] if id_ < vocabulary.size else None
    return bool(surface) and text.startswith(surface or b"")


def _decoded(text: bytes) -> str | None:
    """A text's characters; None where it does not begin and end with whole ones."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
