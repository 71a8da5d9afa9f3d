"""Members from local folders and hub ids."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deepen_llm.config import MemberConfig
from deepen_llm.errors import ConfigError, DeepenError, LoadError
from deepen_llm.members.local import LocalMember


def load_member(config: MemberConfig) -> LocalMember:
    """Load a model and its tokenizer.

    Args:
        config: Where the member comes from, and onto which device.

    Raises:
        LoadError: There is no such checkpoint, it cannot be read, or its weights are not safetensors.
        ConfigError: The dtype or device is unknown or not there.
        VocabularyError: The tokenizer does not fit the model.
    """
    _check_folder(config)
    place = _placement(config)
    common = {"trust_remote_code": config.trust_remote_code, "revision": config.revision}
    common = {key: value for key, value in common.items() if value is not None}
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, **common)
        dtype = _dtype(config, common)
        weights = {"use_safetensors": True} if config.safetensors_only else {}
        model = AutoModelForCausalLM.from_pretrained(config.path, dtype=dtype, **place, **weights, **common)
    except DeepenError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise LoadError(f"member {config.path} cannot be loaded: {_first_lines(error)}", hint=_hint(config)) from error
    if "device_map" not in place:
        model = model.to(_device(config.device))
    member = LocalMember(model, tokenizer, config.name or _short(config.path))
    member.source = config
    return member


def _check_folder(config: MemberConfig) -> None:
    """Tell a wrong folder before a hub is asked for it."""
    folder = Path(config.path).expanduser()
    looks_local = folder.exists() or config.path.startswith((".", "/", "~")) or config.path.count("/") > 1
    if looks_local and not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is no folder"
        raise LoadError(
            f"member {config.path} is no checkpoint: it {what}",
            hint="give a folder that save_pretrained wrote (config.json, weights, tokenizer files), or a hub id",
        )


def _placement(config: MemberConfig) -> dict[str, Any]:
    if config.device_map is None:
        _device(config.device)  # an unknown device is told before weights are read
        return {}
    if find_spec("accelerate") is None:
        raise ConfigError(
            f"device_map={config.device_map!r} needs accelerate", hint="pip install 'deepen-llm[accelerate]'"
        )
    return {"device_map": config.device_map}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used: {_first_lines(error)}",
            hint="give 'auto', 'cpu', or a device like 'cuda:0'",
        ) from error
    return torch.device(name)


def _dtype(config: MemberConfig, common: dict[str, Any]) -> torch.dtype | str:
    if config.dtype != "auto":
        named = getattr(torch, config.dtype.removeprefix("torch."), None)
        if not isinstance(named, torch.dtype) or not named.is_floating_point:
            raise ConfigError(
                f"dtype {config.dtype!r} is no floating torch dtype",
                hint="give 'auto', 'float32', 'bfloat16' or 'float16'",
            )
        return named
    stored = AutoConfig.from_pretrained(config.path, **common).dtype
    on_cpu = config.device_map is None and _device(config.device).type == "cpu"
    return torch.float32 if on_cpu and stored == torch.float16 else "auto"


def _hint(config: MemberConfig) -> str:
    if Path(config.path).expanduser().exists():
        return (
            "check that the folder holds config.json, the tokenizer's files and weights as safetensors; weights in "
            "other formats load with safetensors_only=False, code of its own with trust_remote_code=True"
        )
    return "check the id and your network, log in with 'hf auth login' where it is gated, or give a local folder"


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _short(path: str) -> str:
    return Path(path).expanduser().resolve().name if Path(path).expanduser().exists() else path
