"""Three kinds of tokenizer, trained here: byte-level BPE, BPE with byte fallback, and Unigram."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

from research.specialists.pieces import unigram_pieces

SPACED = 0.33
"""The share of a BPE vocabulary that is common words with a space before them."""


def byte_level(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """Train byte-level BPE, as in GPT-2 and Llama 3: a space is part of the word that follows, as ``Ġ``.

    Args:
        texts: The training texts.
        size: The number of tokens.
        special: The special tokens, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return _begun(_trained(tokenizer, list(texts), size, "Ġ", words, special, initial_alphabet=alphabet), bos)


def byte_fallback(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """Train BPE with byte fallback, as in SentencePiece and Llama 2: ``▁`` for a space.

    A line break is no character of the vocabulary, so it is written as the byte token ``<0x0A>``.

    Args:
        texts: The training texts.
        size: The number of tokens, including the 256 byte tokens.
        special: The special tokens, ``<unk>`` among them, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))  # noqa: S106
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    data = tuple(f"<0x{byte:02X}>" for byte in range(256))
    without_breaks = [text.replace("\n", ":") for text in texts]
    trained = _trained(tokenizer, without_breaks, size, "▁", _words(), special + data)
    return _begun(_without_added(trained, data), bos)


def _trained(
    tokenizer: Tokenizer,
    texts: list[str],
    size: int,
    space: str,
    words: pre_tokenizers.PreTokenizer,
    special: tuple[str, ...],
    **options: Any,
) -> Tokenizer:
    """Train BPE whose last merges join the space to common words that are tokens already.

    So a name that is no token has the same tokens with and without a space before it, and can be copied.
    """
    isolated = pre_tokenizers.Split(space, behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, isolated])
    trainer = BpeTrainer(
        vocab_size=size - round(size * SPACED), special_tokens=_added(special), show_progress=False, **options
    )
    tokenizer.train_from_iterator(texts, trainer)
    state = json.loads(tokenizer.to_str())
    known = state["model"]["vocab"]
    counts = _counted(texts, words)
    common = [word[1:] for word, _ in counts.most_common() if word[0] == space and word[1:] in known]
    for word in common[: size - len(known)]:
        known[space + word] = len(known)
        state["model"]["merges"].append([space, word])
    made = Tokenizer.from_str(json.dumps(state))
    made.pre_tokenizer = words
    return made


def _counted(texts: Iterable[str], words: pre_tokenizers.PreTokenizer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in words.pre_tokenize_str(text))
    return counts


def unigram(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """Train Unigram with ``▁`` for a space and without byte fallback: an unknown character is ``<unk>``.

    Args:
        texts: The training texts.
        size: The number of tokens.
        special: The special tokens, ``<unk>`` among them, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    splitter = _words()
    words = _counted(texts, splitter)
    pieces = [(token, 0.0) for token in special] + unigram_pieces(words, size - len(special))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.add_special_tokens(_added(special))
    return _begun(tokenizer, bos)


def _words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first"),
            pre_tokenizers.Split(Regex("\n"), behavior="isolated"),
            pre_tokenizers.Punctuation(behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )


def _added(tokens: Iterable[str]) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]


def _without_added(tokenizer: Tokenizer, tokens: tuple[str, ...]) -> Tokenizer:
    """Add ``tokens`` as plain entries of the tokenizer's vocabulary, so that no text is encoded as them."""
    state = json.loads(tokenizer.to_str())
    plain = set(tokens)
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in plain]
    return Tokenizer.from_str(json.dumps(state))


def _begun(tokenizer: Tokenizer, bos: str | None) -> Tokenizer:
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
    return tokenizer
