"""Real `transformers` tokenizers of every kind, built offline: small ones trained here, real ones installed.

Each builder is cached: within a process all tests share one tokenizer, so no test may change it. Every process
builds the same ones, id for id.
"""

import atexit
import json
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.integrations.mistral import convert_tekken_tokenizer
from transformers.tokenization_mistral_common import MistralCommonBackend

Builder = Callable[[], PreTrainedTokenizerBase]

CHINESE = "敏捷的棕色狐狸跳过了懒狗。法国的首都是巴黎，意大利的首都是罗马。你好，世界！"
TEXTS = [
    "The quick brown fox jumps over the lazy dog. Don't panic, said the guide, and it was right!",
    "What is the capital of France? The capital of France is Paris; the capital of Italy is Rome.",
    "She sells sea shells by the sea shore: 1, 2, 3, 42, 1984 and 2024 of them, or 3.14159.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Übermäßig schöne Grüße!",
    "Die Antwort auf die große Frage ist zweiundvierzig, aber wie lautet die Frage?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Какая столица у Франции?",
    CHINESE,
    "Emoji: 😀 😀 🚀 🚀 👩‍💻 and café, naïve, façade.",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n\tprint(add(i, 2))\n",
    "The dog and the fox are here. The fox and the dog are there. They were over there, and they are here.",
    *2 * (" ".join(map(chr, range(0x21, 0x7F))), "".join(filter(str.isalnum, map(chr, range(0x80))))),
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
UNKNOWN, START, END = SPECIALS = ["<unk>", "<s>", "</s>"]
END_OF_TEXT = "<|end|>"  # byte-level BPE's one special token
TEKKEN_FILE = "tekken_240911.json"
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s"
)
O200K_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    names = {"unk_token": UNKNOWN, "bos_token": START, "eos_token": END}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **names)


@cache
def byte_level_bpe() -> PreTrainedTokenizerBase:
    """GPT-2's kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT
    )


@cache
def sentencepiece_bpe() -> PreTrainedTokenizerBase:
    """Llama-2's kind: `▁`, byte pieces, a space put before the text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    alphabet = sorted({"▁", *"".join(TEXTS)} - {" ", *CHINESE})
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIALS + _byte_pieces(),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = _llama_decoder()
    return _wrap(_plain_byte_pieces(tokenizer))


@cache
def sentencepiece_unigram() -> PreTrainedTokenizerBase:
    """T5's kind: `▁`, no byte fallback, `<unk>` for what it does not know."""
    tokenizer = Tokenizer(models.Unigram(_unigram_pieces(TEXTS), unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(SPECIALS)
    return _wrap(tokenizer)


@cache
def unigram_byte_fallback() -> PreTrainedTokenizerBase:
    """Gemma-like Unigram: byte pieces, no space put before the text."""
    pieces = _unigram_pieces(text for text in TEXTS if text != CHINESE)
    pieces[3:3] = [(piece, -100.0) for piece in _byte_pieces()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(SPECIALS)
    return _wrap(tokenizer)


@cache
def wordpiece() -> PreTrainedTokenizerBase:
    """BERT's kind."""
    words = Counter(re.findall(r"\w+", " ".join(TEXTS)))
    characters = set("".join(TEXTS)) - set(" \n\t")
    frequent = {word for word, count in words.items() if count > 1}
    ends = {f"##{word[start:]}" for word in words for start in range(1, len(word)) if start > len(word) - 4}
    tokens = [*SPECIALS, *sorted(characters | frequent | ends | {f"##{c}" for c in characters if c.isalnum()})]
    vocab = {token: id_ for id_, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIALS)
    return _wrap(tokenizer)


def _unigram_pieces(texts: Iterable[str]) -> list[tuple[str, float]]:
    """Characters, and parts of words with their log frequency; the trainer's own differ from run to run."""
    words = Counter(word for text in texts for word in re.findall("▁?[^▁\\s]+", text.replace(" ", "▁")))
    parts: Counter[str] = Counter()
    for word, count in words.items():
        spans = [(a, b) for a in range(len(word)) for b in range(a + 2, min(len(word), a + 7) + 1)]
        parts.update(dict(Counter(word[a:b] for a, b in spans for _ in range(count))))
    best = sorted(parts, key=lambda part: (-parts[part] * len(part), part))[:200]
    characters = sorted({"▁", "\n", "\t", *"".join(words)})
    logs = {part: math.log(parts[part] / parts.total()) for part in best}
    return [(token, 0.0) for token in SPECIALS] + [(c, -10.0) for c in characters] + list(logs.items())


def _llama_decoder() -> decoders.Decoder:
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(content=" ", left=1),
    ]
    return decoders.Sequence(steps)


def _byte_pieces() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def _state(tokenizer: Tokenizer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    return state


def _plain_byte_pieces(tokenizer: Tokenizer) -> Tokenizer:
    """Byte pieces could only be reserved as special tokens; make them tokens like any other."""
    state = _state(tokenizer)
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIALS]
    return Tokenizer.from_str(json.dumps(state))


@cache
def tiktoken(file: str, pattern: str) -> PreTrainedTokenizerBase:
    """A tiktoken vocabulary out of LlamaIndex's package, converted as `transformers` does it."""
    path = _package("llama_index.core") / "_static" / "tiktoken_cache" / file
    tokenizer = TikTokenConverter(str(path), pattern, extra_special_tokens=["<|endoftext|>"]).converted()
    names = dict.fromkeys(("bos_token", "eos_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **names)


@cache
def mistral(file: str) -> PreTrainedTokenizerBase:
    """A SentencePiece vocabulary out of mistral-common's package."""
    folder = folder_with(file, "tokenizer.model")
    return LlamaTokenizer.from_pretrained(folder, chat_template=CHAT_TEMPLATE)


@cache
def tekken() -> PreTrainedTokenizerBase:
    """Mistral's tekken vocabulary, converted as `transformers` does it."""
    path = _package("mistral_common") / "data" / TEKKEN_FILE
    return _wrap(convert_tekken_tokenizer(str(path)).backend_tokenizer)


@cache
def mistral_common() -> PreTrainedTokenizerBase:
    """The same vocabulary in Mistral's own tokenizer, which `transformers` prefers where it is installed."""
    return MistralCommonBackend.from_pretrained(folder_with(TEKKEN_FILE, "tekken.json"))


@cache
def folder_with(file: str, name: str) -> str:
    """A folder, for this process, with one of mistral-common's files under another name."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(_package("mistral_common") / "data" / file, Path(folder) / name)
    return folder


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.origin is not None, f"{name} is not installed"
    return Path(spec.origin).parent


SMALL: dict[str, Builder] = {
    "byte_level_bpe": byte_level_bpe,
    "sentencepiece_bpe": sentencepiece_bpe,
    "sentencepiece_unigram": sentencepiece_unigram,
    "unigram_byte_fallback": unigram_byte_fallback,
    "wordpiece": wordpiece,
}
REAL: dict[str, Builder] = {
    "cl100k": partial(tiktoken, "9b5ad71b2ce5302211f9c61530b329a4922fc6a4", CL100K_PATTERN),
    "o200k": partial(tiktoken, "fb374d419588a4632f3f557e76b4b70aebbca790", O200K_PATTERN),
    "mistral_v1": partial(mistral, "tokenizer.model.v1"),
    "mistral_v3": partial(mistral, "mistral_instruct_tokenizer_240323.model.v3"),
    "tekken": tekken,
}


@cache
def bytes_only() -> PreTrainedTokenizerBase:
    """A vocabulary of single bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id_ for id_, letter in enumerate([*letters, END_OF_TEXT])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT
    )
