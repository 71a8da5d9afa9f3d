"""Anchors: the tokens that every member has."""

from collections.abc import Sequence

import torch

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.vocabulary import Vocabulary


def shared_anchors(vocabularies: Sequence[Vocabulary]) -> torch.Tensor:
    """Align the tokens that every vocabulary has: equal surfaces, and the end-of-text role.

    Args:
        vocabularies: One per member, N of them.

    Returns:
        Ids, int64 `[N, A]`: a column per anchor, by the first vocabulary's ids, the empty surface left out;
        behind them tokens that every vocabulary has a second time (byte pieces beside characters). If every
        member has an end-of-text token, their primary ones are the last column.

    Raises:
        VocabularyError: No surface is shared.
    """
    first, *others = [vocabulary.ids for vocabulary in vocabularies]
    shared = [s for s in sorted(first, key=first.__getitem__) if s and all(s in ids for ids in others)]
    if not shared:
        raise VocabularyError(
            f"The vocabularies, of sizes {[vocabulary.size for vocabulary in vocabularies]}, share no token.",
            hint="Choose members whose tokenizers were trained on the same languages.",
        )
    columns = [[vocabulary.ids[s] for s in shared] for vocabulary in vocabularies]
    for surface in filter(None, vocabularies[0].duplicates):
        twice = zip(*(vocabulary.duplicates.get(surface, ()) for vocabulary in vocabularies), strict=False)
        for aligned in twice:  # a surface that every vocabulary has twice is two anchors
            for column, id_ in zip(columns, aligned, strict=True):
                column.append(id_)
    if all(vocabulary.end_of_text for vocabulary in vocabularies):
        for column, vocabulary in zip(columns, vocabularies, strict=True):
            column.append(vocabulary.end_of_text[0])
    return torch.tensor(columns, dtype=torch.int64)  # [N, A]
