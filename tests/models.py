"""Small real `transformers` models with random weights, one architecture per name."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
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
    "llama": lambda **given: LlamaConfig(**{**_SIZES, **given}),
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

_EXPERTS: dict[str, object] = {"num_local_experts": 2, "num_experts_per_tok": 1}
_LATENT: dict[str, object] = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 32,
    "num_key_value_heads": 4,
}
_OPENAI: dict[str, object] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048}
_SHARING: dict[str, object] = {
    "head_dim": 8,
    "sliding_window": 7,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}

TYPES: dict[str, dict[str, object]] = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere": {},
    "cohere2": {"sliding_window": 7, "sliding_window_pattern": 2},
    "deepseek_v3": _LATENT,
    "deepseek_v32": {**_LATENT, "index_topk": 6, "index_n_heads": 4, "index_head_dim": 16},
    "exaone4": {"sliding_window": 7},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "gemma2": {"head_dim": 8, "sliding_window": 7},
    "gemma3_text": {"head_dim": 8, "sliding_window": 7},
    "gemma3n_text": {**_SHARING, "laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": None},
    "gemma4_text": {**_SHARING, "global_head_dim": 8},
    "glm": {"head_dim": 8},
    "gpt_bigcode": _OPENAI,
    "gpt_oss": {"head_dim": 8, "sliding_window": 7, **_EXPERTS},
    "gptj": {**_OPENAI, "rotary_dim": 4},
    "granite": {},
    "jetmoe": {},
    "llama4_text": {"head_dim": 8, "attention_chunk_size": 8, "intermediate_size_mlp": 64, **_EXPERTS},
    "mixtral": {"sliding_window": None, **_EXPERTS},
    "nemotron": {},
    "olmo2": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {"head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": None},
}
"""More architectures of real families, by their model type; older versions of `transformers` lack some."""
RECURRENT = {"mamba", "lfm2"}
TYPES["lfm2"] = {"layer_types": ["conv", "full_attention"]}


@cache
def random_model(
    architecture: str, vocab_size: int, eos: int | None, seed: int = 0, **changed: object
) -> PreTrainedModel:
    """A model in fp32 whose next tokens differ from step to step; ``changed`` are fields of its configuration."""
    torch.manual_seed(seed)
    sizes: dict[str, object] = {"vocab_size": vocab_size, "eos_token_id": eos, "bos_token_id": None, **changed}
    sizes["pad_token_id"] = None
    config = CONFIGS[architecture](**sizes) if architecture in CONFIGS else _of_type(architecture, sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" not in name and parameter.dim() > 1:
            parameter.data.normal_(0, 0.4)
    return model.eval()


def _of_type(model_type: str, sizes: dict[str, object]) -> object:
    given = {**_SIZES, **TYPES[model_type], **sizes}
    if "hidden_size_per_layer_input" in given:
        given["vocab_size_per_layer_input"] = sizes["vocab_size"]
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"this version of transformers has no {model_type}")
    return AutoConfig.for_model(model_type, **given)


def small(
    architecture: str, kind: str, seed: int = 0, wider: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random model with one of the small tokenizers; ``wider`` rows of padding in its logits."""
    tokenizer = SMALL[kind]()
    return random_model(architecture, len(tokenizer) + wider, tokenizer.eos_token_id, seed), tokenizer
