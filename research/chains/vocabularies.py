"""Three kinds of tokenizer, which split words and numbers in three ways."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

_DIGIT_BY_DIGIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"


def byte_level(texts: Iterable[str], size: int, special: tuple[str, ...]) -> Tokenizer:
    """Byte-level BPE with GPT-2's regular expression: numbers are split like words.

    Args:
        texts: The training texts.
        size: The number of tokens.
        special: The special tokens, which take the first ids.

    Returns:
        The trained tokenizer.
    """
    return _bytes(texts, size, special, pre_tokenizers.ByteLevel(add_prefix_space=False))


def byte_level_digits(texts: Iterable[str], size: int, special: tuple[str, ...]) -> Tokenizer:
    """Byte-level BPE with a regular expression like Qwen's: a number is split into digits (`byte_level`)."""
    cut = pre_tokenizers.Split(Regex(_DIGIT_BY_DIGIT), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _bytes(texts, size, special, pre_tokenizers.Sequence([cut, level]))


def metaspace(texts: Iterable[str], size: int, special: tuple[str, ...]) -> Tokenizer:
    """BPE with byte fallback and ``▁`` for a space, as SentencePiece makes it; ``<unk>`` is among the special tokens.

    Numbers are split into digits (`byte_level`).
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first"),
            pre_tokenizers.Punctuation(behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    joined = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(joined)
    data = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=size, special_tokens=_added([*special, *data]), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    state = json.loads(tokenizer.to_str())  # bytes are plain entries of a vocabulary: no text spells them
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(state))


def begun(tokenizer: Tokenizer, bos: str) -> Tokenizer:
    """Make a tokenizer begin every text with a special token."""
    place = tokenizer.token_to_id(bos)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, place)]
    )
    return tokenizer


def _bytes(texts: Iterable[str], size: int, special: tuple[str, ...], words: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = words, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=size, special_tokens=_added(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _added(tokens: Iterable[str]) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]
