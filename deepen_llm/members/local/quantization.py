"""Weights in few bits: what `MemberConfig.quantization` names, as `transformers` takes it."""

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
_PACKED_ROWS = 32  # what bitsandbytes packs together for a CPU
_SCALES = 1.125  # the weights' scales take up to an eighth of them


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
        # It warns in every layer at every step that inputs are cast, which is how this method works.
        logging.getLogger(importlib.import_module("bitsandbytes").matmul.__module__).setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "bnb-nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return TorchAoConfig(importlib.import_module("torchao.quantization").Int8WeightOnlyConfig())


def keep_odd_shapes_plain(model: nn.Module) -> None:
    """Keep 4-bit layers that bitsandbytes cannot pack for the CPU in the form that they are stored in.

    On a CPU with AVX512-BF16 instructions, bitsandbytes (0.49 and 0.50) packs each 4-bit layer anew at its first
    forward, and fails there unless its outputs are a multiple of 32 and its inputs one of its block size. Other CPUs
    read the stored form; so these layers do here, and all others are packed.

    Args:
        model: The model, with its layers quantized already.
    """
    for part in model.modules():
        state = getattr(getattr(part, "weight", None), "quant_state", None)
        if state is not None and hasattr(part, "support_avx512bf16_for_cpu"):
            outputs, inputs = state.shape
            part.support_avx512bf16_for_cpu &= outputs % _PACKED_ROWS == 0 and inputs % state.blocksize == 0


def bytes_per_weight(quantization: str) -> float:
    """Bytes that a weight of a quantized layer takes, with its share of the scales."""
    return _BYTES[quantization] * _SCALES


def is_quantized(config: PretrainedConfig) -> bool:
    """Whether a checkpoint's weights are quantized already."""
    configs = (config, config.get_text_config(decoder=True))
    return any(getattr(one, "quantization_config", None) is not None for one in configs)
