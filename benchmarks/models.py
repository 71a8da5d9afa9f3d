"""Models with random weights and the shapes of real families, made on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig

from deepen_llm.testing.scripted import ScriptedLlama

_CONTEXT = 4096  # tokens
_FINAL_NORM = 0.05  # the last norm's weight: random logits are then small compared with the script's values


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama, which determines its cost.

    Attributes:
        vocabulary: Tokens V.
        width: Embedding dimensions D.
        layers: Number of layers.
        inner: Width of the feed-forward part.
        heads: Attention heads.
        kv_heads: Heads of keys and values.
        tied: Whether the output layer is the embedding.
    """

    vocabulary: int
    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    tied: bool

    def __str__(self) -> str:
        """Format the shape for the head of a table."""
        return (
            f"{self.vocabulary:,} tokens, D = {self.width:,}, {self.layers} layers, {self.inner:,} inner, "
            f"{self.heads} heads ({self.kv_heads} of keys and values), {'' if self.tied else 'un'}tied: "
            f"{self.parameters / 1e6:,.0f} M parameters"
        )

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        narrow = self.width * self.kv_heads // self.heads
        layer = 2 * self.width * (self.width + narrow) + 3 * self.width * self.inner
        return self.layers * layer + (1 if self.tied else 2) * self.vocabulary * self.width


PRESETS: dict[str, tuple[Shape, ...]] = {
    "tiny": (
        Shape(1_000, 64, 2, 128, 4, 4, False),
        Shape(3_000, 64, 2, 128, 4, 2, True),
        Shape(4_500, 64, 2, 128, 4, 2, True),
        Shape(1_000, 64, 2, 128, 4, 4, False),
    ),
    "100m": (
        Shape(32_000, 768, 7, 2048, 12, 12, False),  # Llama's proportions, output layer of its own
        Shape(131_072, 576, 8, 1536, 9, 3, True),  # SmolLM's
        Shape(199_999, 384, 8, 1024, 6, 2, True),
        Shape(32_000, 768, 7, 2048, 12, 12, False),
    ),
    "1b": (
        Shape(32_000, 2048, 22, 5632, 32, 4, False),  # TinyLlama 1.1B
        Shape(131_072, 2048, 16, 8192, 32, 8, True),  # Llama 3.2 1B
    ),
    "7b": (
        Shape(32_000, 4096, 32, 11_008, 32, 32, False),  # Llama 2 7B
        Shape(131_072, 4096, 32, 14_336, 32, 8, False),  # Mistral 7B, with the vocabulary of Mistral NeMo
    ),
}
"""For each size, the members in their order; the first is the main model. Rows take as many as they need."""


def build(shape: Shape, *, device: torch.device, dtype: torch.dtype, seed: int) -> ScriptedLlama:
    """Build a model with random weights.

    Args:
        shape: The shape.
        device: The device of the weights.
        dtype: The type of the weights.
        seed: The seed of the weights.
    """
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.inner,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=_CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: ScriptedLlama = ScriptedLlama(config).eval()
    finally:
        torch.set_default_dtype(before)
    torch.nn.init.constant_(model.model.norm.weight, _FINAL_NORM)
    return model
