"""Vocabulary: a member's tokens as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.emitted import EmittedIds, shared_ids
from deepen_llm.vocabulary.surfaces import read_surfaces

END = "<end>"
"""The text that stands for the end of text where tokens are displayed."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a member as bytes.

    Attributes:
        surfaces: The bytes that each token adds in the middle of a text, one entry per logit; None for special
            tokens, unused ids and the padding of the logits.
        end_of_text: The ids with the end-of-text role, the tokenizer's own first; they have no surface.
        special: The ids of the special tokens, including end-of-text ids and ids beyond the logits.
        spellings: The text of each special token.
        tokenizer_size: The first id that is padding of the logits; padding is never chosen.
        ids: Maps a surface to its id; where several ids have it, to the one that the tokenizer emits.
        duplicates: Maps a surface to its other ids, which the tokenizer does not emit, such as the byte piece
            ``<0x61>`` beside ``a``.
        fingerprint: Vocabularies with equal fingerprints have the same tokens under the same ids, except for padding
            and the end-of-text role.
    """

    surfaces: tuple[bytes | None, ...]
    end_of_text: tuple[int, ...]
    special: frozenset[int]
    spellings: Mapping[int, str]
    tokenizer_size: int
    ids: Mapping[bytes, int]
    duplicates: Mapping[bytes, tuple[int, ...]]
    fingerprint: str

    @property
    def size(self) -> int:
        """The width of the logits."""
        return len(self.surfaces)

    def longest(self, text: bytes) -> int:
        """The id of the longest token that the text begins with; -1 if there is none."""
        beginnings = (text[:size] for size in range(len(text), 0, -1))
        return next((self.ids[surface] for surface in beginnings if surface in self.ids), -1)

    def shown(self, token: int) -> str:
        r"""Format a token for display: its surface, ``<end>`` for the end of text; bytes of a character as ``\xe2``."""
        if token in self.end_of_text:
            return END
        return (self.surfaces[token] or b"").decode(errors="backslashreplace")

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, *, size: int, end_of_text: Sequence[int]) -> Vocabulary:
        """Read the vocabulary of a tokenizer.

        Added tokens beyond the logits, such as a ``[PAD]`` that the model was never resized for, are left out.

        Args:
            tokenizer: Any ``transformers`` tokenizer of a known kind.
            size: The width of its model's logits, in tokens.
            end_of_text: The ids that end a text; may be empty.

        Raises:
            VocabularyError: The tokenizer does not fit the logits, an end-of-text id is none of its ids, or
                its tokens cannot be read as bytes.
        """
        read, special = read_surfaces(tokenizer)
        _check_fit(tokenizer, len(read), size, end_of_text)
        primary = tokenizer.eos_token_id
        roles = tuple(sorted(dict.fromkeys(id_ for id_ in end_of_text if id_ < size), key=lambda id_: id_ != primary))
        special |= frozenset(roles)
        read = read[:size]
        for id_ in roles:
            read[id_] = None
        surfaces = (*read, *[None] * (size - len(read)))
        shared = shared_ids(tokenizer, surfaces)
        return cls(
            surfaces=surfaces,
            end_of_text=roles,
            special=special,
            spellings=_spellings(tokenizer, special),
            tokenizer_size=len(read),
            ids=EmittedIds(surfaces, shared),
            duplicates=duplicates_of(surfaces, shared),
            fingerprint=_fingerprint(read),
        )


def lengths_of(surfaces: Sequence[bytes | None]) -> NDArray[np.int32]:
    """The length of every surface, ``[V]``, -1 for none."""
    return np.fromiter((-1 if surface is None else len(surface) for surface in surfaces), np.int32, len(surfaces))


def duplicates_of(surfaces: Sequence[bytes | None], shared: Sequence[Sequence[int]]) -> dict[bytes, tuple[int, ...]]:
    """Map each surface that several ids have to these ids without the first."""
    return {surfaces[first] or b"": tuple(others) for first, *others in shared}


def _fingerprint(surfaces: Sequence[bytes | None]) -> str:
    digest = hashlib.sha256(lengths_of(surfaces).astype("<i4").tobytes())
    digest.update(b"".join(filter(None, surfaces)))
    return digest.hexdigest()


def _check_fit(tokenizer: PreTrainedTokenizerBase, tokenizer_size: int, size: int, end_of_text: Sequence[int]) -> None:
    name = type(tokenizer).__name__
    if _model_tokens(tokenizer, range(size, tokenizer_size)):
        raise VocabularyError(
            f"expected logits for all ids of the tokenizer {name}, 0 to {tokenizer_size - 1}, got {size} logits",
            hint="load the model with its own tokenizer, or resize its embeddings to the tokenizer's length",
        )
    outside = [id_ for id_ in end_of_text if id_ < 0 or tokenizer_size <= id_ < size]
    if outside:
        raise VocabularyError(
            f"expected end-of-text ids among the ids of the tokenizer {name}, 0 to {tokenizer_size - 1}, got {outside}",
            hint="correct eos_token_id in the model's generation_config.json or config.json",
        )


def _model_tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The ids, of those given, whose token was not added to the tokenizer later."""
    if not ids:
        return []
    added = getattr(tokenizer, "added_tokens_decoder", {})  # mistral-common's tokenizers have none
    ids = [id_ for id_ in ids if id_ not in added]
    return [id_ for id_, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True) if token is not None]


def _spellings(tokenizer: PreTrainedTokenizerBase, special: frozenset[int]) -> dict[int, str]:
    ids = sorted(special)
    return {id_: token for id_, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True) if token}
