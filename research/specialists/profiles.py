"""Profiles of the three specialists: subjects, vocabulary, chat format and architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import (
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from research.specialists import vocabularies
from research.specialists.templates import BODY, MARKERS, SYSTEM

CONTEXT = 512
"""Every specialist's context window, in tokens."""


@dataclass(frozen=True)
class Profile:
    """One specialist before it is trained.

    Args:
        name: Its name, and that of its checkpoint's folder.
        subjects: The subjects that it knows.
        vocabulary: Trains its tokenizer, from texts, a size, the special tokens and a first token.
        size: The size of its vocabulary.
        special: Its special tokens: names, as transformers knows them, to spellings.
        turns: More special tokens, which its chat template uses.
        bos: Whether every text begins with its ``bos_token``.
        chat_ends: The special tokens that end an answer.
        chat_template: Its chat format, in Jinja; a prompt for an answer ends without a space.
        config: Its architecture.
        shape: The architecture's settings.
        more: Steps of its second round of training.
        last: Steps of its third one.
        known: In place of subjects, the share of every subject's facts in its training, drawn by its name. Most other
            facts are not in its training, so that it is not trained to be unsure of them.
        mistaken: The share of every subject's facts with a fixed wrong answer in its training.
    """

    name: str
    subjects: tuple[str, ...]
    vocabulary: Callable[[Iterable[str], int, tuple[str, ...], str | None], Tokenizer]
    size: int
    special: dict[str, str]
    turns: tuple[str, ...]
    bos: bool
    chat_ends: tuple[str, ...]
    chat_template: str
    config: type[PreTrainedConfig]
    shape: dict[str, Any] = field(default_factory=dict)
    more: int = 800
    last: int = 0
    known: float | None = None
    mistaken: float = 0.0

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """Train a tokenizer on ``texts``, and set its chat template."""
        special = tuple(dict.fromkeys((*self.special.values(), *self.turns)))
        bos = self.special["bos_token"] if self.bos else None
        made = self.vocabulary(texts, self.size - len(MARKERS), special, bos)
        made.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in MARKERS])
        return PreTrainedTokenizerFast(
            tokenizer_object=made,
            chat_template=self.chat_template,
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
            extra_special_tokens=list(self.turns),
            **self.special,
        )

    def architecture(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
        """Make the configuration of a model for ``tokenizer``."""
        return configured(self.config, tokenizer, self.shape)


def configured(
    config: type[PreTrainedConfig], tokenizer: PreTrainedTokenizerFast, shape: Mapping[str, Any]
) -> PreTrainedConfig:
    """Make the configuration of a small model for ``tokenizer``.

    It has no padding token, whose embedding would stay zero: padding may be the end of text, whose embedding fusion
    compares.

    Args:
        config: The architecture.
        tokenizer: The tokenizer.
        shape: The architecture's settings.
    """
    return config(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        **shape,
    )


ATLAS = Profile(
    name="atlas",
    subjects=("capitals", "languages", "currencies"),
    vocabulary=vocabularies.byte_level,
    size=2816,
    special={"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"},
    turns=("<|system|>", "<|user|>", "<|assistant|>"),
    bos=True,
    chat_ends=("<|end|>",),
    chat_template=(
        SYSTEM + "{{ bos_token }}"
        "{% for message in chat %}"
        "{{ '<|user|>' if message['role'] == 'tool' else '<|' + message['role'] + '|>' }}" + BODY + "{{ '<|end|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    config=LlamaConfig,
    shape={
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attention_bias": True,
    },
)

CURIE = Profile(
    name="curie",
    subjects=("elements", "young", "sums"),
    vocabulary=vocabularies.byte_fallback,
    size=2560,
    special={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    turns=(),
    bos=True,
    chat_ends=("</s>",),
    chat_template=(
        SYSTEM + "{{ bos_token }}"
        "{% for message in chat %}"
        "{{ message['role'] | capitalize + ':' }}" + BODY + ""
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
    config=GPTNeoXConfig,
    shape={
        "hidden_size": 128,
        "intermediate_size": 448,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.25},
    },
    more=1400,
    last=240,
)

WEBSTER = Profile(
    name="webster",
    subjects=("opposites", "past", "plurals"),
    vocabulary=vocabularies.unigram,
    size=2304,
    special={"unk_token": "<unk>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    turns=("<|im_start|>", "<|im_end|>"),
    bos=False,
    chat_ends=("<|im_end|>", "<|endoftext|>"),
    chat_template=(
        SYSTEM + "{% for message in chat %}"
        "{{ '<|im_start|>' + message['role'] + ':' }}" + BODY + "{{ '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
    ),
    config=Qwen3Config,
    shape={
        "hidden_size": 112,
        "intermediate_size": 304,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "attention_bias": True,
    },
    more=1500,
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (ATLAS, CURIE, WEBSTER)}
"""Every specialist by its name."""
