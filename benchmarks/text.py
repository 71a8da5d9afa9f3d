"""An artificial language: words of syllables, drawn by Zipf's law, with byte pairs to learn."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr pl pr sh sl sp st str th tr"
_NUCLEI = "a e i o u ai ea ee ie oo ou"
_CODAS = "n r s t l m d ck ng nt st rd ll ss x p"
_ZIPF_SHIFT = 2.7  # Mandelbrot's
_SPREAD = 0.4  # how much a word's frequency differs between two corpora, in nats
_SPEECH = 1.2  # Zipf's exponent of texts: with a vocabulary of 32,000, about 1.3 tokens for a word, as in English
_SENTENCE = 12  # words


class Language:
    """Words in the order of their frequency.

    Args:
        words: The number of words.
        seed: The seed of the language.
    """

    def __init__(self, words: int, seed: int = 0) -> None:
        self.size, self.seed = words, seed

    @cached_property
    def words(self) -> list[str]:
        """The words, rare ones longer."""
        rng = np.random.default_rng(self.seed)
        onsets, codas = [*_ONSETS.split(), ""], [*_CODAS.split(), ""]
        syllables = sorted({a + b + c for a in onsets for b in _NUCLEI.split() for c in codas})
        rng.shuffle(syllables)
        likely = _zipf(len(syllables), 0.9)
        found: dict[str, None] = {}
        while len(found) < self.size:
            length = 1 + min(4, int(rng.poisson(0.3 + 0.17 * np.log1p(len(found)))))
            drawn = rng.choice(len(syllables), (1000, length), p=likely)
            found.update(dict.fromkeys("".join(syllables[index] for index in row) for row in drawn))
        return list(found)[: self.size]

    def corpus(self, seed: int, words: int) -> dict[str, int]:
        """Count each word in a corpus of about this many words; corpora differ in their frequent words."""
        rng = np.random.default_rng(seed)
        likely = _zipf(self.size, 1.0) * np.exp(rng.normal(0, _SPREAD, self.size))
        counts = rng.poisson(likely / likely.sum() * words)
        return {word: int(count) for word, count in zip(self.words, counts, strict=True) if count}

    def text(self, words: int, seed: int) -> str:
        """Make a text of sentences."""
        rng = np.random.default_rng(seed)
        drawn = [self.words[index] for index in rng.choice(self.size, words, p=_zipf(self.size, _SPEECH))]
        sentences = [" ".join(drawn[first : first + _SENTENCE]) for first in range(0, words, _SENTENCE)]
        return " ".join(f"{sentence.capitalize()}." for sentence in sentences)


@lru_cache
def _zipf(count: int, exponent: float) -> np.ndarray:
    likely = (np.arange(count) + 1 + _ZIPF_SHIFT) ** -exponent
    return np.asarray(likely / likely.sum())
