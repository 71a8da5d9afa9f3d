"""A member's checkpoint before its weights are read: its files, configuration, dtype and size."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session, is_offline_mode
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from deepen_llm.errors import ConfigError, DeepenError, LoadError
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, Adapter, find_adapter, find_file
from deepen_llm.members.local.placement import Footprint
from deepen_llm.members.local.quantization import bytes_per_weight, is_quantized
from deepen_llm.members.transformers_api import undivided

_HUB_TIMEOUT = 5.0  # seconds
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tekken.json")
_LOCAL_HINT = (
    "check that the files are whole (no git-lfs pointers, nothing cut short) and the weights safetensors; other "
    "formats load with safetensors_only=False, code of its own with trust_remote_code=True, both in Python or YAML"
)
_HUB_HINT = "check the id and your network, log in with 'hf auth login' where it is gated, or give a local folder"
_MEMORY_HINT = "give a quantization, a smaller dtype or another device, or free memory; device='auto' looks for room"
_PACKAGE_HINT = "install what the message names; 'deepen-llm[quantized]' brings bitsandbytes and torchao"


@dataclass(frozen=True)
class Checkpoint:
    """A folder or hub id, with its configuration read.

    Attributes:
        source: The member's configuration.
    """

    source: MemberConfig

    @cached_property
    def common(self) -> dict[str, Any]:
        """The arguments of every ``from_pretrained``."""
        common = {
            "trust_remote_code": self.source.trust_remote_code,
            "revision": self.source.revision,
            "local_files_only": None if Path(self.source.path).exists() or _hub_answers() else True,
        }
        return {key: value for key, value in common.items() if value is not None}

    @cached_property
    def config(self) -> PretrainedConfig:
        """The model's own configuration.

        Raises:
            ConfigError: The weights are quantized already, and the user asks for quantization.
        """
        with self.reading():
            config = AutoConfig.from_pretrained(self.base, **self.base_common)
        if self.source.quantization and is_quantized(config):
            raise ConfigError(
                f"member {self.source.path} is quantized already, so it cannot be loaded with "
                f"quantization={self.source.quantization!r}",
                hint="leave quantization out, or take the checkpoint that is not quantized",
            )
        return config

    @property
    def folder(self) -> Path | None:
        """The folder of its files, for an adapter its own; None where it has no configuration file."""
        config_file = self.file(ADAPTER_CONFIG if self.adapter else CONFIG)
        return None if config_file is None else config_file.parent

    @property
    def quantized(self) -> bool:
        """Whether its layers will be quantized, by the member's configuration or in the checkpoint."""
        return bool(self.source.quantization) or is_quantized(self.config)

    def dtype(self, *, on_cpu: bool) -> torch.dtype | None:
        """The dtype that weights are loaded in; None for the one that they are stored in."""
        if self.source.dtype != "auto":
            return named_dtype(self.source)
        return torch.float32 if on_cpu and self.config.dtype == torch.float16 else None

    def footprint(self) -> Footprint:
        """The weights' size on a GPU, from the model's shapes and, for quantized checkpoints, from the files' size.

        Raises:
            LoadError: The configuration gives no model.
        """
        with self.reading(), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # loading the model gives the same warnings
            model = AutoModelForCausalLM.from_config(
                self.config,
                dtype=self.dtype(on_cpu=False) or self.config.dtype or torch.float32,
                trust_remote_code=self.source.trust_remote_code,
            )
        quantized = bytes_per_weight(self.source.quantization) if self.source.quantization else None
        weights, block = _size(model, model, quantized), _largest_block(model, quantized)
        stored = self._stored_bytes() if is_quantized(self.config) else None
        if stored:
            weights, block = stored, block * stored // weights
        return Footprint(weights + self._adapter_bytes(), block)

    def _adapter_bytes(self) -> int:
        with self.reading():
            weights = self.file(ADAPTER_WEIGHTS) if self.adapter else None
            return weights.stat().st_size if weights else 0

    def _stored_bytes(self) -> int | None:
        """Bytes of the base's safetensors files; None where it has none."""
        base = {key: value for key, value in self.base_common.items() if key != "trust_remote_code"}
        with self.reading():
            if index := find_file(self.base, constants.SAFETENSORS_INDEX_FILE, **base):
                return int(json.loads(index.read_text(encoding="utf-8"))["metadata"]["total_size"])
            whole = find_file(self.base, constants.SAFETENSORS_SINGLE_FILE, **base)
            return whole.stat().st_size if whole else None

    def file(self, name: str) -> Path | None:
        """One of the checkpoint's files, downloaded where it is not there yet; None where it has no such file."""
        return find_file(self.source.path, name, **self._where)

    @cached_property
    def adapter(self) -> Adapter | None:
        """The adapter that the source holds; None where it is a whole checkpoint.

        Raises:
            LoadError: It cannot be read, or `Adapter.check` refuses it.
        """
        with self.reading():
            adapter = find_adapter(self.source.path, **self._where)
        if adapter is not None:
            adapter.check()
        return adapter

    @property
    def base(self) -> str:
        """The folder or hub id of the model's own weights and configuration."""
        return self.adapter.base if self.adapter else self.source.path

    @property
    def base_common(self) -> dict[str, Any]:
        """`common`, for the base."""
        if self.adapter is None or self.adapter.base == self.source.path:
            return self.common
        return {**self.common, "revision": self.adapter.base_revision}

    @property
    def tokenizer_path(self) -> str:
        """The folder or hub id of the tokenizer: the adapter's where it has one, else the base's."""
        has_tokenizer = self.adapter is None or any(self.file(name) for name in _TOKENIZER_FILES)
        return self.source.path if has_tokenizer else self.base

    @property
    def _where(self) -> dict[str, Any]:
        return {key: self.common[key] for key in ("revision", "local_files_only") if key in self.common}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn the errors that libraries raise while they read files into a `LoadError`."""
        try:
            yield
        except DeepenError:
            raise
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            raise LoadError(
                f"member {self.source.path} cannot be loaded: {first_lines(error)}", hint=self._hint(error)
            ) from error

    def _hint(self, error: Exception) -> str:
        if isinstance(error, ImportError):
            return _PACKAGE_HINT
        if isinstance(error, torch.OutOfMemoryError):
            return _MEMORY_HINT
        return _LOCAL_HINT if Path(self.source.path).exists() else _HUB_HINT


def named_dtype(source: MemberConfig) -> torch.dtype | None:
    """The dtype that a user names; None for ``auto``.

    Raises:
        ConfigError: There is no such floating dtype.
    """
    if source.dtype == "auto":
        return None
    named = getattr(torch, source.dtype, None)
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ConfigError(
            f"dtype {source.dtype!r} is no floating torch dtype",
            hint="give 'auto', 'float32', 'bfloat16' or 'float16'",
        )
    return named


def first_lines(error: Exception) -> str:
    """A library's error message in one line, of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def _hub_answers() -> bool:
    """Whether the hub can be reached; where it cannot, the hub client would retry for every file."""
    if is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT)
    except Exception as error:  # the HTTP library, and so its errors, differ between versions of the hub client
        warnings.warn(f"the hub cannot be reached ({first_lines(error)}): only the local cache is used", stacklevel=2)
        return False
    return True


def _size(model: PreTrainedModel, part: nn.Module, quantized: float | None) -> int:
    """Bytes of a part of a model.

    Args:
        model: The model.
        part: One of its modules, or the model itself.
        quantized: Bytes of a weight in linear layers other than the head; None where nothing will be quantized.
    """
    head = model.get_output_embeddings()
    layers = (layer for layer in part.modules() if isinstance(layer, nn.Linear) and layer is not head)
    linear = {layer.weight for layer in layers} if quantized else set()
    tensors = [*part.parameters(), *part.buffers()]
    return int(sum(t.numel() * (quantized if quantized and t in linear else t.element_size()) for t in tensors))


def _largest_block(model: PreTrainedModel, quantized: float | None) -> int:
    """Bytes of the largest part that accelerate never splits: a layer, or a module without parts."""
    names = undivided(model)
    parts = [module for module in model.modules() if type(module).__name__ in names or not list(module.children())]
    return max(_size(model, part, quantized) for part in parts)
