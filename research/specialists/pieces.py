"""Pieces of a Unigram vocabulary."""

from __future__ import annotations

import itertools
import math
from collections import Counter

from tokenizers import Tokenizer, models

COMMON = 20
"""How often a word occurs, at least, to be a piece of a Unigram vocabulary as a whole."""


def unigram_pieces(words: Counter[str], size: int) -> list[tuple[str, float]]:
    """Choose the pieces for words, with their log-probabilities.

    The trainer of ``tokenizers`` ignores words that occur in one form only, and these texts consist of such words. Here
    every common word, with and without its space, and every string of two or three characters is a candidate with the
    count of its words; those in the best segmentation come first, by the pieces that they save, then the most common
    ones. So a name that is no piece has the same pieces with and without a space before it.

    Args:
        words: Words, with ``▁`` for the space before them, and their counts.
        size: The number of pieces.
    """
    characters = Counter({chr(code): 1 for code in (10, *range(33, 127))})
    bodies: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for word, count in words.items():
        characters.update(dict.fromkeys(word, count))
        body = word.removeprefix("▁")
        bodies[body] += count
        spans = itertools.combinations(range(len(body) + 1), 2)
        parts.update({body[start:end]: count for start, end in spans if 1 < end - start < 4})
    for word, count in words.items():
        if len(word) > 1 and count >= COMMON:
            parts[word] = max(parts[word], count)
            parts[word.removeprefix("▁")] = bodies[word.removeprefix("▁")]
    candidates = _log_shares(characters + parts)
    model = Tokenizer(models.Unigram([("<unk>", 0.0), *candidates], unk_id=0, byte_fallback=False))
    used: Counter[str] = Counter()
    for word, count in words.items():
        used.update(dict.fromkeys(model.encode(word).tokens, count))
    saved = Counter({part: count * (len(part) - 1) for part, count in used.items()})
    ranked = [*characters, *dict(saved.most_common()), *dict(parts.most_common())]
    kept = list(dict.fromkeys(ranked))[:size]
    return _log_shares(Counter({part: max(1, used[part]) for part in kept}))


def _log_shares(counts: Counter[str]) -> list[tuple[str, float]]:
    total = sum(counts.values())
    return [(text, math.log(count / total)) for text, count in counts.items()]
