"""Quantization of weights: the value of `MemberConfig.quantization` as a configuration of `transformers`."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PretrainedConfig, TorchAoConfig
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from deepen_llm.errors import ConfigError

_PACKAGES = {"bnb": ("bitsandbytes", is_bitsandbytes_available), "torchao": ("torchao", is_torchao_available)}
_BYTES = {"bnb-int8": 1.0, "torchao-int8": 1.0, "bnb-nf4": 0.5}
_PACKED_OUTPUTS = 32  # outputs of a layer that bitsandbytes packs together for a CPU
_WITH_SCALES = 1.125  # the scales take up to an eighth of the weights' bytes


def require_package(quantization: str) -> None:
    """Raise where a quantization's package is missing.

    Raises:
        ConfigError: It is not installed, or too old.
    """
    package, is_available = _PACKAGES[quantization.partition("-")[0]]
    if not is_available():
        raise ConfigError(
            f"quantization={quantization!r} needs {package}, which is not installed or too old",
            hint="pip install 'deepen-llm[quantized]'",
        )


def quantizer(quantization: str, dtype: torch.dtype) -> Any:
    """The configuration by which `transformers` quantizes linear layers while it loads them.

    Embeddings and the head keep their dtype.

    Args:
        quantization: A value of `MemberConfig.quantization`.
        dtype: What the layers compute in.
    """
    if quantization == "bnb-int8":
        # bitsandbytes warns in every layer at every step that inputs are cast, as LLM.int8 must cast them.
        logging.getLogger(importlib.import_module("bitsandbytes").matmul.__module__).setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "bnb-nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return TorchAoConfig(importlib.import_module("torchao.quantization").Int8WeightOnlyConfig())


def keep_odd_shapes_plain(model: nn.Module) -> None:
    """Do not pack 4-bit layers whose shape bitsandbytes cannot pack.

    On a CPU with AVX512-BF16 instructions, bitsandbytes (0.49 and 0.50) packs each 4-bit layer at its first forward.
    This fails unless the outputs are a multiple of 32 and the inputs a multiple of the block size. Layers of other
    shapes are read in their stored form, as on CPUs without these instructions.

    Args:
        model: The model, with its layers quantized already.
    """
    for part in model.modules():
        state = getattr(getattr(part, "weight", None), "quant_state", None)
        if state is not None and hasattr(part, "support_avx512bf16_for_cpu"):
            outputs, inputs = state.shape
            part.support_avx512bf16_for_cpu &= outputs % _PACKED_OUTPUTS == 0 and inputs % state.blocksize == 0


def bytes_per_weight(quantization: str) -> float:
    """Bytes of a quantized layer's weight, its share of the scales included."""
    return _BYTES[quantization] * _WITH_SCALES


def is_quantized(config: PretrainedConfig) -> bool:
    """Whether a checkpoint's weights are quantized already."""
    configs = (config, config.get_text_config(decoder=True))
    return any(getattr(part, "quantization_config", None) is not None for part in configs)
