"""Weights in few bits: what `MemberConfig.quantization` names, as `transformers` takes it."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PretrainedConfig, TorchAoConfig
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from deepen_llm.errors import ConfigError

_PACKAGES = {"bnb": ("bitsandbytes", is_bitsandbytes_available), "torchao": ("torchao", is_torchao_available)}
_BYTES = {"bnb-int8": 1.0, "torchao-int8": 1.0, "bnb-nf4": 0.5}
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
    """The configuration by which `transformers` quantises linear layers while it loads them.

    Embeddings and the head keep their dtype.

    Args:
        quantization: A value of `MemberConfig.quantization`.
        dtype: What the layers compute in.
    """
    if quantization == "bnb-int8":
        # It warns in every layer at every step that inputs are cast, which is how this method works.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "bnb-nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return TorchAoConfig(importlib.import_module("torchao.quantization").Int8WeightOnlyConfig())


def bytes_per_weight(quantization: str) -> float:
    """Bytes that a weight of a quantised layer takes, with its share of the scales."""
    return _BYTES[quantization] * _SCALES


def is_quantised(config: PretrainedConfig) -> bool:
    """Whether a checkpoint's weights are quantised already."""
    configs = (config, config.get_text_config(decoder=True))
    return any(getattr(one, "quantization_config", None) is not None for one in configs)
