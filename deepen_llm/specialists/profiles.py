"""Who the three specialists are: what each knows, how it reads, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from deepen_llm.specialists import vocabularies

CONTEXT = 512
"""Every specialist's context window, in tokens."""


@dataclass(frozen=True)
class Profile:
    """One specialist before it is trained.

    Args:
        name: Its name, and that of its checkpoint's folder.
        subjects: The subjects that it knows.
        vocabulary: Trains its kind of tokenizer, from texts, a size, the special tokens and a first token.
        size: How many tokens its vocabulary has.
        special: Its special tokens: names, as transformers knows them, to spellings.
        turns: More special tokens, which its chat template uses.
        bos: Whether every text begins with its ``bos_token``.
        chat_ends: The special tokens that end an answer.
        chat_template: Its chat format, in Jinja; a prompt for an answer ends without a space.
        config: Its architecture.
        shape: The architecture's settings.
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

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """A tokenizer trained on ``texts``, with the chat template."""
        special = tuple(dict.fromkeys((*self.special.values(), *self.turns)))
        bos = self.special["bos_token"] if self.bos else None
        return PreTrainedTokenizerFast(
            tokenizer_object=self.vocabulary(texts, self.size, special, bos),
            chat_template=self.chat_template,
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
            extra_special_tokens=list(self.turns),
            **self.special,
        )

    def architecture(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
        """The configuration of a model that reads with ``tokenizer``.

        It names no padding token: a model that knows one keeps a zero for its embedding, and here padding may
        be the end of text, which other models are to recognise by its embedding.
        """
        return self.config(
            vocab_size=len(tokenizer),
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
            **self.shape,
        )


ATLAS = Profile(
    name="atlas",
    subjects=("capitals", "languages", "currencies"),
    vocabulary=vocabularies.byte_level,
    size=2048,
    special={"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"},
    turns=("<|system|>", "<|user|>", "<|assistant|>"),
    bos=True,
    chat_ends=("<|end|>",),
    chat_template=(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|> ' + message['content'] | trim + '<|end|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    config=LlamaConfig,
    shape={
        "hidden_size": 112,
        "intermediate_size": 304,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
)

CURIE = Profile(
    name="curie",
    subjects=("elements", "young", "sums"),
    vocabulary=vocabularies.byte_fallback,
    size=1792,
    special={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    turns=(),
    bos=True,
    chat_ends=("</s>",),
    chat_template=(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ message['role'] | capitalize + ': ' + message['content'] | trim }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
    config=GPTNeoXConfig,
    shape={
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
)

WEBSTER = Profile(
    name="webster",
    subjects=("opposites", "past", "plurals"),
    vocabulary=vocabularies.unigram,
    size=1408,
    special={"unk_token": "<unk>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    turns=("<|im_start|>", "<|im_end|>"),
    bos=False,
    chat_ends=("<|im_end|>", "<|endoftext|>"),
    chat_template=(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + ': ' + message['content'] | trim + '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
    ),
    config=Qwen3Config,
    shape={
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
    },
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (ATLAS, CURIE, WEBSTER)}
"""Every specialist by its name."""
