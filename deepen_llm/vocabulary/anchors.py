"""Anchors: the tokens that all members share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray

from deepen_llm.errors import VocabularyError
from deepen_llm.storage import fingerprints, store
from deepen_llm.vocabulary.stored import LEAST
from deepen_llm.vocabulary.vocabulary import Vocabulary


def shared_anchors(vocabularies: Sequence[Vocabulary], *, least: int = LEAST) -> torch.Tensor:
    """Align the tokens that all vocabularies share: tokens with equal surfaces, and the end-of-text tokens.

    Args:
        vocabularies: One per member, N of them.
        least: The anchors are stored on disk if every vocabulary has at least this many tokens.

    Returns:
        Ids, int64 ``[N, A]``: one column per anchor, in the order of the first vocabulary's ids, without the empty
        surface; then tokens that every vocabulary has a second time (byte pieces beside characters). If every
        member has an end-of-text token, the primary ones are the last column.

    Raises:
        VocabularyError: The vocabularies share no surface.
    """
    if min(vocabulary.size for vocabulary in vocabularies) < least:
        return _aligned(vocabularies)
    key = fingerprints.fingerprint(["anchors", *map(_identity, vocabularies)])
    return store.kept("anchors", key, lambda: {"ids": _aligned(vocabularies)})["ids"]


def _identity(vocabulary: Vocabulary) -> tuple[object, ...]:
    """Everything that the anchors depend on."""
    return vocabulary.fingerprint, vocabulary.end_of_text[:1], sorted(vocabulary.duplicates.items())


def _aligned(vocabularies: Sequence[Vocabulary]) -> torch.Tensor:
    surfaces = [surface or b"" for surface in vocabularies[0].surfaces]
    ids = np.stack([_emitted_ids(vocabulary, surfaces) for vocabulary in vocabularies])  # [N, V]
    emitted = ids[0] == np.arange(len(surfaces))
    nonempty = np.fromiter(map(bool, surfaces), bool, len(surfaces))
    columns = ids[:, (ids >= 0).all(0) & emitted & nonempty]
    if not columns.size:
        raise VocabularyError(
            f"expected vocabularies that share tokens, got sizes {[vocabulary.size for vocabulary in vocabularies]}"
            " and no shared token",
            hint="choose members whose tokenizers were trained on the same languages",
        )
    appended: list[tuple[int, ...]] = []
    for surface in filter(None, vocabularies[0].duplicates):  # a surface that every vocabulary has twice is two anchors
        appended += zip(*(vocabulary.duplicates.get(surface, ()) for vocabulary in vocabularies), strict=False)
    if all(vocabulary.end_of_text for vocabulary in vocabularies):
        appended.append(tuple(vocabulary.end_of_text[0] for vocabulary in vocabularies))
    last = np.array(appended, np.int64).reshape(-1, len(vocabularies)).T
    return torch.from_numpy(np.concatenate([columns, last], axis=1))  # [N, A]


def _emitted_ids(vocabulary: Vocabulary, surfaces: Sequence[bytes]) -> NDArray[np.int64]:
    """The id that a tokenizer emits for each surface, -1 where it has no such token."""
    ids = dict(zip(vocabulary.surfaces, range(vocabulary.size), strict=True))
    for surface in vocabulary.duplicates:
        ids[surface] = vocabulary.ids[surface]
    return np.fromiter(map(ids.get, surfaces, repeat(-1)), np.int64, len(surfaces))
