"""Large vocabularies, stored on disk after they were first read from a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deepen_llm.storage import fingerprints, store
from deepen_llm.vocabulary.emitted import EmittedIds
from deepen_llm.vocabulary.vocabulary import Vocabulary, duplicates_of, lengths_of

LEAST = 20_000  # tokens; a smaller vocabulary is read from its tokenizer within 0.05 s


def stored_vocabulary(
    tokenizer: PreTrainedTokenizerBase,
    *,
    size: int,
    end_of_text: Sequence[int],
    folder: Path | None = None,
    least: int = LEAST,
) -> Vocabulary:
    """Read a vocabulary as `Vocabulary.from_tokenizer` does, and store a large one on disk for the next start.

    Args:
        tokenizer: Any ``transformers`` tokenizer of a known kind.
        size: The width of its model's logits, in tokens.
        end_of_text: The ids that end a text; may be empty.
        folder: The folder that the tokenizer was loaded from; None for one made in memory, which is not stored.
        least: The smallest number of tokens of a vocabulary that is stored.

    Raises:
        VocabularyError: `Vocabulary.from_tokenizer` raises it.
    """
    files = fingerprints.of_tokenizer(tokenizer, folder) if folder is not None and len(tokenizer) >= least else None
    if files is None:
        return Vocabulary.from_tokenizer(tokenizer, size=size, end_of_text=end_of_text)
    key = fingerprints.fingerprint(["vocabulary", files, size, tuple(end_of_text)])
    stored = store.read("vocabulary", key)
    if stored is not None:
        return unpacked(stored)
    vocabulary = Vocabulary.from_tokenizer(tokenizer, size=size, end_of_text=end_of_text)
    store.write("vocabulary", key, packed(vocabulary))
    return vocabulary


def packed(vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Pack a vocabulary into tensors: bytes of all surfaces, their lengths ``[V]`` (-1 for none), the rest as JSON."""
    rest = {
        "end_of_text": vocabulary.end_of_text,
        "special": sorted(vocabulary.special),
        "spellings": list(vocabulary.spellings.items()),
        "tokenizer_size": vocabulary.tokenizer_size,
        "shared": [(vocabulary.ids[surface], *others) for surface, others in vocabulary.duplicates.items()],
        "fingerprint": vocabulary.fingerprint,
    }
    return {
        "surfaces": _bytes(b"".join(filter(None, vocabulary.surfaces))),
        "lengths": torch.from_numpy(lengths_of(vocabulary.surfaces)),
        "rest": _bytes(json.dumps(rest).encode()),
    }


def unpacked(tensors: dict[str, Tensor]) -> Vocabulary:
    """Unpack a vocabulary from the tensors that `packed` returns."""
    joined = tensors["surfaces"].numpy().tobytes()
    rest = json.loads(tensors["rest"].numpy().tobytes())
    lengths = tensors["lengths"].numpy()
    ends = np.maximum(lengths, 0).cumsum().tolist()
    parts: list[bytes | None] = [joined[first:last] for first, last in zip([0, *ends], ends, strict=False)]
    for id_ in np.flatnonzero(lengths < 0).tolist():
        parts[id_] = None
    surfaces = tuple(parts)
    return Vocabulary(
        surfaces=surfaces,
        end_of_text=tuple(rest["end_of_text"]),
        special=frozenset(rest["special"]),
        spellings=dict(rest["spellings"]),
        tokenizer_size=rest["tokenizer_size"],
        ids=EmittedIds(surfaces, rest["shared"]),
        duplicates=duplicates_of(surfaces, rest["shared"]),
        fingerprint=rest["fingerprint"],
    )


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
