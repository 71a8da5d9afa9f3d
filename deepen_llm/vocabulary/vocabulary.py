"""A member's vocabulary as bytes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.emitted import EmittedIds, shared_ids
from deepen_llm.vocabulary.surfaces import read_surfaces


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A member's vocabulary as bytes.

    Attributes:
        surfaces: The bytes that each token adds in the middle of a text, one per logit; None for special
            tokens, unused ids and padding beyond the tokenizer.
        end_of_text: The ids that have the end-of-text role, the tokenizer's own first; they have no surface.
        special: The special tokens' ids, the end-of-text ones among them; also those that no logit stands for.
        spellings: How the special tokens are written.
        tokenizer_size: Ids from here on are padding of the logits: never chosen.
        ids: From a surface to the id that the tokenizer emits for it, where several have it.
        duplicates: From a surface to its other ids, which its tokenizer does not emit, such as the byte piece
            `<0x61>` beside `a`.
        fingerprint: Equal fingerprints mean that ids are interchangeable, but for padding and the end-of-text role.
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
        """The longest token that a text begins with; -1 where there is none."""
        beginnings = (text[:size] for size in range(len(text), 0, -1))
        return next((self.ids[one] for one in beginnings if one in self.ids), -1)

    @classmethod
    def from_tokenizer(
        cls, tokenizer: PreTrainedTokenizerBase, *, size: int, end_of_text: Sequence[int]
    ) -> "Vocabulary":
        """Read a tokenizer.

        Added tokens beyond the logits, such as a ``[PAD]`` that the model was never resized for, are not there: they
        have no surface and are never chosen.

        Args:
            tokenizer: Any `transformers` tokenizer of a known kind.
            size: The width of its model's logits, in tokens.
            end_of_text: The ids that end a text; may be empty.

        Raises:
            VocabularyError: The tokenizer does not fit the logits, an end-of-text id is none of its ids, or
                its tokens cannot be read as bytes.
        """
        read, special = read_surfaces(tokenizer)
        _check_fit(tokenizer, len(read), size, end_of_text)
        own = tokenizer.eos_token_id
        roles = tuple(sorted(dict.fromkeys(id_ for id_ in end_of_text if id_ < size), key=lambda id_: id_ != own))
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


def lengths_of(surfaces: Sequence[bytes | None]) -> "np.typing.NDArray[np.int32]":
    """The length of every surface, -1 for none: with their bytes joined it tells them all, ``[V]``."""
    return np.fromiter((-1 if one is None else len(one) for one in surfaces), np.int32, len(surfaces))


def duplicates_of(surfaces: Sequence[bytes | None], shared: Sequence[Sequence[int]]) -> dict[bytes, tuple[int, ...]]:
    """From a surface that several ids have to those of them behind the first."""
    return {surfaces[first] or b"": tuple(others) for first, *others in shared}


def _fingerprint(surfaces: Sequence[bytes | None]) -> str:
    digest = hashlib.sha256(lengths_of(surfaces).astype("<i4").tobytes())
    digest.update(b"".join(filter(None, surfaces)))
    return digest.hexdigest()


def _check_fit(tokenizer: PreTrainedTokenizerBase, tokenizer_size: int, size: int, end_of_text: Sequence[int]) -> None:
    name = type(tokenizer).__name__
    if _model_tokens(tokenizer, range(size, tokenizer_size)):
        raise VocabularyError(
            f"The tokenizer {name} has ids up to {tokenizer_size - 1}, but the logits are only {size} wide.",
            hint="Load the model with its own tokenizer, or resize its embeddings to the tokenizer's length.",
        )
    outside = [id_ for id_ in end_of_text if id_ < 0 or tokenizer_size <= id_ < size]
    if outside:
        raise VocabularyError(
            f"The end-of-text ids {outside} are none of {name}'s ids, 0 to {tokenizer_size - 1}.",
            hint="Correct eos_token_id in the model's generation_config.json or config.json.",
        )


def _model_tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """Of these ids, those that have a token which was not added to the tokenizer later."""
    if not ids:
        return []
    added = getattr(tokenizer, "added_tokens_decoder", {})  # mistral-common's tokenizers know none
    own = [id_ for id_ in ids if id_ not in added]
    return [id_ for id_, token in zip(own, tokenizer.convert_ids_to_tokens(own), strict=True) if token is not None]


def _spellings(tokenizer: PreTrainedTokenizerBase, special: frozenset[int]) -> dict[int, str]:
    ids = sorted(special)
    return {id_: token for id_, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True) if token}
