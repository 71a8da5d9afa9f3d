"""Three kinds of tokenizer, trained here: byte-level BPE, BPE with byte fallback, and Unigram."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer


def byte_level(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """Byte-level BPE, as GPT-2 and Llama 3 have it: a space is part of the word that follows, as ``Ġ``.

    Args:
        texts: What to learn the vocabulary from.
        size: How many tokens to make.
        special: The special tokens, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=size,
            special_tokens=_added(special),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return _begun(tokenizer, bos)


def byte_fallback(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """BPE with byte fallback, as SentencePiece makes it and Llama 2 has it: ``▁`` for a space.

    A line break is no character of the vocabulary, so it is written as the byte token ``<0x0A>``.

    Args:
        texts: What to learn the vocabulary from.
        size: How many tokens to make, the 256 byte tokens among them.
        special: The special tokens, ``<unk>`` among them, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))  # noqa: S106
    tokenizer.pre_tokenizer = _words()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    data = tuple(f"<0x{byte:02X}>" for byte in range(256))
    trainer = BpeTrainer(vocab_size=size, special_tokens=_added(special + data), show_progress=False)
    without_breaks = (text.replace("\n", ":") for text in texts)
    tokenizer.train_from_iterator(without_breaks, trainer)
    return _begun(_without_added(tokenizer, data), bos)


def unigram(texts: Iterable[str], size: int, special: tuple[str, ...], bos: str | None) -> Tokenizer:
    """Unigram with ``▁`` for a space and no byte fallback: what it cannot spell is ``<unk>``.

    Args:
        texts: What to learn the vocabulary from.
        size: How many tokens to make.
        special: The special tokens, ``<unk>`` among them, which take the first ids.
        bos: The special token that begins every plain text, if any.

    Returns:
        The trained tokenizer.
    """
    splitter = _words()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    pieces = [(token, 0.0) for token in special] + _pieces(words, size - len(special))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.add_special_tokens(_added(special))
    return _begun(tokenizer, bos)


def _pieces(words: Counter[str], size: int) -> list[tuple[str, float]]:
    """The pieces of a Unigram vocabulary with their log-probabilities.

    The trainer of ``tokenizers`` takes no word that occurs in one form only, and these texts are made of such
    words. Here every string inside a word is a candidate that counts as often as its words; those that the
    best segmentation uses come first, by how much they save, then the most common ones.
    """
    characters = Counter({chr(code): 1 for code in (10, *range(33, 127))})
    parts: Counter[str] = Counter()
    for word, count in words.items():
        characters.update(dict.fromkeys(word, count))
        spans = itertools.combinations(range(len(word) + 1), 2)
        parts.update({word[start:end]: count for start, end in spans if end - start > 1})
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
    """The tokenizer with ``tokens`` as plain entries of its vocabulary, so that nobody can spell them."""
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
