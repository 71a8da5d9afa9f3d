"""Three members, of three architectures and three kinds and sizes of vocabulary, each with its own wording."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    StableLmConfig,
)

from research.chains import vocabularies
from research.specialists.batches import Schedule, batches
from research.specialists.documents import Document
from research.specialists.profiles import CONTEXT, configured
from research.specialists.training import read, untrained, write

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Untrained:
    """A small model before it is trained.

    Attributes:
        name: Its name, and that of its checkpoint's folder.
        vocabulary: Trains its tokenizer, from texts, a size and the special tokens.
        size: The size of its vocabulary.
        special: Its special tokens: names, as transformers knows them, to spellings. With a ``bos_token`` every text
            begins with it.
        config: Its architecture.
        shape: The architecture's settings.
    """

    name: str
    vocabulary: Callable[[Iterable[str], int, tuple[str, ...]], Tokenizer]
    size: int
    special: dict[str, str]
    config: type[PreTrainedConfig]
    shape: dict[str, Any]

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """A tokenizer trained on ``texts``."""
        made = self.vocabulary(texts, self.size, tuple(dict.fromkeys(self.special.values())))
        if "bos_token" in self.special:
            made = vocabularies.begun(made, self.special["bos_token"])
        return PreTrainedTokenizerFast(
            tokenizer_object=made, model_max_length=CONTEXT, clean_up_tokenization_spaces=False, **self.special
        )

    def architecture(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
        """The configuration of a model that reads with ``tokenizer``."""
        shape = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, **self.shape}
        return configured(self.config, tokenizer, shape)

    def train(self, texts: Iterable[str], documents: Iterator[Document], schedule: Schedule, out: Path) -> None:
        """Train the model from random weights, and write its checkpoint.

        Args:
            texts: The texts of its vocabulary.
            documents: An endless stream of training documents.
            schedule: The schedule of the training.
            out: The folder of the checkpoint's folder.
        """
        started = time.perf_counter()
        tokenizer = self.tokenizer(texts)
        model = untrained(self.architecture(tokenizer), schedule.seed)
        read(model, batches(documents, tokenizer, schedule), schedule.rate, schedule.steps)
        write(model, tokenizer, [tokenizer.eos_token], out / self.name)
        _LOG.info("%s is ready after %.0f s", self.name, time.perf_counter() - started)


@dataclass(frozen=True)
class Profile(Untrained):
    """A member of this study before it is trained.

    Attributes:
        wording: The most frequent wording in its training.
    """

    wording: int


POLO = Profile(
    name="polo",
    vocabulary=vocabularies.byte_level,
    size=3072,
    special={"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"},
    wording=0,
    config=LlamaConfig,
    shape={"intermediate_size": 384, "num_key_value_heads": 2, "attention_bias": True},
)

BATTUTA = Profile(
    name="battuta",
    vocabulary=vocabularies.metaspace,
    size=1536,
    special={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    wording=1,
    config=StableLmConfig,
    shape={"intermediate_size": 384, "num_key_value_heads": 4, "use_qkv_bias": True, "partial_rotary_factor": 1.0},
)

EGERIA = Profile(
    name="egeria",
    vocabulary=vocabularies.byte_level_digits,
    size=608,
    special={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    wording=2,
    config=Qwen2Config,
    shape={"intermediate_size": 384, "num_key_value_heads": 2},
)

MEMBERS: dict[str, Profile] = {profile.name: profile for profile in (POLO, BATTUTA, EGERIA)}
"""Every member by its name: a large, a middle and a small vocabulary."""
