"""The first token of a text in the middle of another, as a tokenizer writes it there."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.members.text.encoding import LEADS, TextEncoder
from deepen_llm.vocabulary import Vocabulary


def first_tokens(encoder: TextEncoder, vocabulary: Vocabulary, texts: Sequence[bytes]) -> list[int]:
    """See `Member.first_tokens`.

    The tokenizer is asked behind a character that stays apart from the text. Bytes that end inside a character are no
    text that it could be asked for: there it is the longest token that they begin with.

    Args:
        encoder: The member's tokenizer.
        vocabulary: Its vocabulary.
        texts: What to begin.
    """
    spelled = [_decoded(text) for text in texts]
    found = [-1 if plain is not None else vocabulary.longest(text) for text, plain in zip(texts, spelled, strict=True)]
    waiting = [place for place, plain in enumerate(spelled) if plain]
    for lead in LEADS[1:]:
        head, missed = encoder.encode_text(lead).ids, list[int]()
        for place, ids in zip(waiting, encoder.encode_texts([f"{lead}{spelled[i]}" for i in waiting]), strict=True):
            apart = len(ids) > len(head) and ids[: len(head)] == head
            if apart and _begins(vocabulary, ids[len(head)], texts[place]):
                found[place] = ids[len(head)]
            else:
                missed.append(place)
        waiting = missed
    return found


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
