"""Anchors: the tokens that every member has."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import torch

from deepen_llm.errors import VocabularyError
from deepen_llm.storage import fingerprints, store
from deepen_llm.vocabulary.stored import LEAST
from deepen_llm.vocabulary.vocabulary import Vocabulary


def shared_anchors(vocabularies: Sequence[Vocabulary], *, least: int = LEAST) -> torch.Tensor:
    """Align the tokens that every vocabulary has: equal surfaces, and the end-of-text role.

    Args:
        vocabularies: One per member, N of them.
        least: Tokens that each vocabulary must have for their anchors to be kept on disk.

    Returns:
        Ids, int64 `[N, A]`: a column per anchor, by the first vocabulary's ids, the empty surface left out;
        behind them tokens that every vocabulary has a second time (byte pieces beside characters). If every
        member has an end-of-text token, their primary ones are the last column.

    Raises:
        VocabularyError: No surface is shared.
    """
    if min(vocabulary.size for vocabulary in vocabularies) < least:
        return _aligned(vocabularies)
    key = fingerprints.fingerprint(["anchors", *map(_identity, vocabularies)])
    return store.kept("anchors", key, lambda: {"ids": _aligned(vocabularies)})["ids"]


def _identity(vocabulary: Vocabulary) -> tuple[object, ...]:
    """All that anchors depend on."""
    return vocabulary.fingerprint, vocabulary.end_of_text[:1], sorted(vocabulary.duplicates.items())


def _aligned(vocabularies: Sequence[Vocabulary]) -> torch.Tensor:
    surfaces = [surface or b"" for surface in vocabularies[0].surfaces]
    found = np.stack([_found(vocabulary, surfaces) for vocabulary in vocabularies])  # [N, V]
    emitted = found[0] == np.arange(len(surfaces))
    nonempty = np.fromiter(map(bool, surfaces), bool, len(surfaces))
    columns = found[:, (found >= 0).all(0) & emitted & nonempty]
    if not columns.size:
        raise VocabularyError(
            f"The vocabularies, of sizes {[vocabulary.size for vocabulary in vocabularies]}, share no token.",
            hint="Choose members whose tokenizers were trained on the same languages.",
        )
    behind: list[tuple[int, ...]] = []
    for surface in filter(None, vocabularies[0].duplicates):  # a surface that every vocabulary has twice is two anchors
        behind += zip(*(vocabulary.duplicates.get(surface, ()) for vocabulary in vocabularies), strict=False)
    if all(vocabulary.end_of_text for vocabulary in vocabularies):
        behind.append(tuple(vocabulary.end_of_text[0] for vocabulary in vocabularies))
    ids = [columns, np.array(behind, np.int64).reshape(-1, len(vocabularies)).T]
    return torch.from_numpy(np.concatenate(ids, axis=1))  # [N, A]


def _found(vocabulary: Vocabulary, surfaces: Sequence[bytes]) -> "np.typing.NDArray[np.int64]":
    """The ids that a tokenizer emits for some surfaces, -1 where it has none."""
    ids = dict(zip(vocabulary.surfaces, range(vocabulary.size), strict=True))
    for surface in vocabulary.duplicates:
        ids[surface] = vocabulary.ids[surface]
    return np.fromiter(map(ids.get, surfaces, repeat(-1)), np.int64, len(surfaces))
