"""Four members, of three architectures and four vocabularies, each with its own field except for the last, weak one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config

from research.chains import vocabularies
from research.chains.members import Untrained
from research.given.texts import MATHEMATICS

OWN = 0.6
"""The share of a member's own fields in its training; the other fields have equal shares of the rest."""


@dataclass(frozen=True)
class Reader(Untrained):
    """A member before it is trained.

    Attributes:
        own: Which fields are its own, where mathematics is first and the others follow by name; none for none.
        effort: The share of the schedule's steps that it is trained for.
    """

    own: slice
    effort: float = 1.0

    def shares(self, fields: Sequence[str]) -> list[float]:
        """The share of each field in its training; the sum is 1."""
        own = [MATHEMATICS, *(field for field in sorted(fields) if field != MATHEMATICS)][self.own]
        if not 0 < len(own) < len(fields):
            return [1 / len(fields)] * len(fields)
        rest = len(fields) - len(own)
        return [OWN / len(own) if field in own else (1 - OWN) / rest for field in fields]


_MIDDLE = {"hidden_size": 160, "num_attention_heads": 5}

A = Reader(
    name="A",
    vocabulary=vocabularies.byte_level,
    size=6000,
    special={"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"},
    config=LlamaConfig,
    shape={**_MIDDLE, "intermediate_size": 448, "num_key_value_heads": 5, "attention_bias": True},
    own=slice(1),
)

B = Reader(
    name="B",
    vocabulary=vocabularies.metaspace,
    size=5000,
    special={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    config=GPTNeoXConfig,
    shape={
        **_MIDDLE,
        "intermediate_size": 640,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.25},
    },
    own=slice(1, 2),
)

C = Reader(
    name="C",
    vocabulary=vocabularies.byte_level_digits,
    size=7000,
    special={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    config=Qwen2Config,
    shape={**_MIDDLE, "intermediate_size": 448, "num_key_value_heads": 5},
    own=slice(2, None),
)

D = Reader(
    name="D",
    vocabulary=vocabularies.byte_level,
    size=500,
    special={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    config=LlamaConfig,
    shape={"intermediate_size": 432, "num_key_value_heads": 2, "attention_bias": True},
    own=slice(0),
    effort=0.25,
)

MEMBERS: dict[str, Reader] = {member.name: member for member in (A, B, C, D)}
"""Every member by its name."""
