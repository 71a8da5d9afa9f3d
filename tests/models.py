"""Small real `transformers` models with random weights, one architecture per name."""

from collections.abc import Callable
from functools import cache

import torch
from transformers import (
    GemmaConfig,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MptConfig,
    Phi3Config,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from tests.tokenizers import SMALL

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}

CONFIGS: dict[str, Callable[..., object]] = {
    "llama": lambda **given: LlamaConfig(**_SIZES, **given),
    "qwen2": lambda **given: Qwen2Config(**_SIZES, **given),
    "gpt_neox": lambda **given: GPTNeoXConfig(**{**_SIZES, "hidden_size": 40}, **given),
    "gpt2": lambda **given: GPT2Config(n_embd=24, n_layer=2, n_head=4, n_positions=2048, **given),
    "gemma": lambda **given: GemmaConfig(**_SIZES, head_dim=8, **given),
    "sliding": lambda **given: MistralConfig(**_SIZES, sliding_window=7, **given),
    "mpt": lambda **given: MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=2048, **given),
    "gpt_neo": lambda **given: GPTNeoConfig(
        hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=7, **given
    ),
    "dynamic_rope": lambda **given: LlamaConfig(
        **{**_SIZES, "max_position_embeddings": 64},
        rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
        **given,
    ),
    "longrope": lambda **given: Phi3Config(
        **{**_SIZES, "max_position_embeddings": 256},
        sliding_window=None,
        original_max_position_embeddings=16,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
            "original_max_position_embeddings": 16,
        },
        **given,
    ),
    "mamba": lambda **given: MambaConfig(hidden_size=24, num_hidden_layers=2, state_size=8, **given),
}


@cache
def random_model(architecture: str, vocab_size: int, eos: int | None, seed: int = 0) -> PreTrainedModel:
    """A model in fp32 whose next tokens differ from step to step."""
    torch.manual_seed(seed)
    config = CONFIGS[architecture](vocab_size=vocab_size, eos_token_id=eos, bos_token_id=None, pad_token_id=None)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" not in name and parameter.dim() > 1:
            parameter.data.normal_(0, 0.4)
    return model.eval()


def small(
    architecture: str, kind: str, seed: int = 0, wider: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random model with one of the small tokenizers; ``wider`` rows of padding in its logits."""
    tokenizer = SMALL[kind]()
    return random_model(architecture, len(tokenizer) + wider, tokenizer.eos_token_id, seed), tokenizer
