"""Byte-level BPE tokenizers of any size, trained on corpora of one language and kept between runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from benchmarks.text import Language

_END = "<|end|>"
_VERSION = 1  # of the training; files of other versions are not used
_CAPITALS = 20  # one of so many occurrences of a word begins a sentence


def tokenizer_of(vocabulary: int, language: Language, cache: Path) -> PreTrainedTokenizerBase:
    """Train a tokenizer of exactly this size, or load it; two sizes share as many tokens as real ones (docs/method.md).

    Args:
        vocabulary: The number of tokens, also the seed of the corpus.
        language: The language of the corpus.
        cache: The folder of trained tokenizers.
    """
    file = cache / f"bpe-{_VERSION}-{language.size}-{language.seed}-{vocabulary}.json"
    if not file.exists():
        _save(_trained(vocabulary, language), file)
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token=_END, pad_token=_END)


def default_cache() -> Path:
    """The folder of trained tokenizers."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "deepen-llm" / "benchmarks"


def _trained(vocabulary: int, language: Language) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_occurrences(language.corpus(vocabulary, 6 * language.size)), trainer)
    if (size := tokenizer.get_vocab_size()) != vocabulary:
        raise ValueError(f"a language of {language.size} words has no more than {size} tokens, not {vocabulary}")
    return tokenizer


def _occurrences(corpus: dict[str, int]) -> Iterator[str]:
    for word, count in corpus.items():
        yield f" {word}" * count + f" {word.capitalize()}." * (count // _CAPITALS)


def _save(tokenizer: Tokenizer, file: Path) -> None:
    """Write a tokenizer atomically, since another run may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        tokenizer.save(str(Path(folder) / file.name))
        (Path(folder) / file.name).replace(file)
