"""Every tokenizer of the test suite, read once."""

from functools import cache

from transformers import PreTrainedTokenizerBase

from deepen_llm.vocabulary import Vocabulary
from tests.tokenizers import REAL, SMALL, Builder, mistral_common

ALL: dict[str, Builder] = SMALL | REAL | {"mistral_common": mistral_common}
BYTE_LEVEL = ["byte_level_bpe", "cl100k", "o200k", "tekken"]
BYTE_FALLBACK = ["sentencepiece_bpe", "unigram_byte_fallback", "mistral_v1", "mistral_v3"]
LOSSLESS = [*BYTE_LEVEL, *BYTE_FALLBACK, "mistral_common"]


@cache
def vocabulary(name: str) -> Vocabulary:
    return read(ALL[name]())


def read(tokenizer: PreTrainedTokenizerBase, *, padding: int = 0) -> Vocabulary:
    size = len(tokenizer) + padding
    return Vocabulary.from_tokenizer(tokenizer, size=size, end_of_text=[tokenizer.eos_token_id])


def joined(name: str, ids: list[int]) -> bytes:
    surfaces = [vocabulary(name).surfaces[id_] for id_ in ids]
    return b"".join(surface for surface in surfaces if surface is not None)
