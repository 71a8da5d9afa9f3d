"""Members from local folders and hub ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session, is_offline_mode
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deepen_llm.config import MemberConfig
from deepen_llm.errors import ConfigError, DeepenError, LoadError
from deepen_llm.members.local import LocalMember

_TOKENIZER_FILES = ("tokenizer*", "vocab*", "tekken.json", "*.model", "*.tiktoken", "merges.txt")
_HUB_PATIENCE = 5.0  # seconds
_LOCAL_HINT = (
    "check that the files are whole (no git-lfs pointers, nothing cut short) and the weights safetensors; other "
    "formats load with safetensors_only=False, code of its own with trust_remote_code=True, both in Python or YAML"
)
_HUB_HINT = "check the id and your network, log in with 'hf auth login' where it is gated, or give a local folder"


def load_member(config: MemberConfig) -> LocalMember:
    """Load a model and its tokenizer.

    Args:
        config: Where the member comes from, and onto which device.

    Raises:
        LoadError: There is no such checkpoint, it cannot be read or is not whole, or its weights are not safetensors.
        ConfigError: The dtype or device is unknown or not there.
        VocabularyError: The tokenizer does not fit the model.
    """
    check_source(config)
    local, common = Path(config.path).exists(), _common(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, **common)
        weights = {"use_safetensors": True} if config.safetensors_only else {}
        model, loaded = AutoModelForCausalLM.from_pretrained(
            config.path,
            dtype=_dtype(config, common),
            output_loading_info=True,
            **_placement(config),
            **weights,
            **common,
        )
    except DeepenError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        hint = _LOCAL_HINT if local else _HUB_HINT
        raise LoadError(f"member {config.path} cannot be loaded: {_first_lines(error)}", hint=hint) from error
    _check_whole(config, loaded)
    if config.device_map is None:
        model = model.to(_device(config.device))
    member = LocalMember(model, tokenizer, config.label)
    member.source = config
    return member


def check_source(config: MemberConfig) -> None:
    """Tell what can be told before any weights are read: a wrong folder, dtype or device.

    Raises:
        LoadError: The path is a folder without a checkpoint, or looks like one and is none.
        ConfigError: The dtype or device is unknown or not there.
    """
    folder = Path(config.path)
    looks_local = folder.exists() or config.path.startswith((".", "/")) or config.path.count("/") > 1
    if looks_local:
        missing = "it is no folder" if not folder.is_dir() else _missing(folder)
        if missing:
            raise LoadError(
                f"member {config.path} is no checkpoint: {missing}",
                hint="give a folder that save_pretrained wrote (config.json, weights, tokenizer files), or a hub id",
            )
    _placement(config)
    _named_dtype(config)


def _missing(folder: Path) -> str | None:
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    if not any(list(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        return "it has no tokenizer files, such as tokenizer.json"
    return None


def _common(config: MemberConfig) -> dict[str, Any]:
    common = {
        "trust_remote_code": config.trust_remote_code,
        "revision": config.revision,
        "local_files_only": None if Path(config.path).exists() or _hub_answers() else True,
    }
    return {key: value for key, value in common.items() if value is not None}


def _hub_answers() -> bool:
    """Whether the hub can be reached at all; without this, every file is asked for again and again."""
    if is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_PATIENCE)
    except Exception as error:  # the session's library, and so its errors, differ between versions of the hub client
        warnings.warn(f"the hub cannot be reached ({_first_lines(error)}): only the local cache is used", stacklevel=2)
        return False
    return True


def _check_whole(config: MemberConfig, loaded: Mapping[str, Any]) -> None:
    """`transformers` fills what a checkpoint lacks with random numbers."""
    lacking = sorted({*loaded["missing_keys"], *(str(key) for key in loaded["mismatched_keys"])})
    if lacking:
        raise LoadError(
            f"member {config.path} is not whole: {len(lacking)} of its weights are missing or of another shape, the "
            f"first is {lacking[0]}",
            hint="download or save the checkpoint again; its config.json and its weights must belong together",
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
        torch.empty(1, device=name).item()  # which the meta device refuses
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used: {_first_lines(error)}",
            hint="give 'auto', 'cpu', or a device like 'cuda:0'",
        ) from error
    return torch.device(name)


def _dtype(config: MemberConfig, common: dict[str, Any]) -> torch.dtype | str:
    if named := _named_dtype(config):
        return named
    stored = AutoConfig.from_pretrained(config.path, **common).dtype
    on_cpu = config.device_map is None and _device(config.device).type == "cpu"
    return torch.float32 if on_cpu and stored == torch.float16 else "auto"


def _named_dtype(config: MemberConfig) -> torch.dtype | None:
    if config.dtype == "auto":
        return None
    named = getattr(torch, config.dtype, None)
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ConfigError(
            f"dtype {config.dtype!r} is no floating torch dtype",
            hint="give 'auto', 'float32', 'bfloat16' or 'float16'",
        )
    return named


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
