"""Members from local folders and hub ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.extras import require
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.checkpoint import Checkpoint, first_lines, named_dtype
from deepen_llm.members.local.files import ADAPTER_WEIGHTS, CONFIG, find_adapter
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.local.placement import Footprint, Share, free_gpu_memory, place
from deepen_llm.members.local.quantization import quantizer, require_package

_TOKENIZER_FILES = ("tokenizer*", "vocab*", "tekken.json", "*.model", "*.tiktoken", "merges.txt")
_WEIGHTS = ("*.safetensors", "*.bin")
_GB = 10**9


def load_members(configs: Sequence[MemberConfig]) -> list[LocalMember]:
    """Load the members of an ensemble; those with ``device="auto"`` are placed on the GPUs with free memory.

    Args:
        configs: Their configurations.

    Raises:
        LoadError: There is no such checkpoint, it cannot be read or is not whole, or its weights are not safetensors.
        ConfigError: A dtype or device is unknown or unavailable, or a package is missing.
        VocabularyError: A tokenizer does not fit its model.

    Warns:
        UserWarning: A member fits on no GPUs and goes to the CPU.
    """
    for config in configs:
        check_source(config)  # all of them, before the first is loaded
    sources = [Checkpoint(config) for config in configs]
    anywhere = [config.device == "auto" and config.device_map is None for config in configs]
    # Members with a device go first: the memory that they take is then no longer free for the others.
    loaded = {i: _load(source, None) for i, source in enumerate(sources) if not anywhere[i]}
    rest = [i for i, is_free in enumerate(anywhere) if is_free]
    for i, share in zip(rest, _shares([sources[i] for i in rest]), strict=True):
        loaded[i] = _load(sources[i], share)
    return [loaded[i] for i in range(len(configs))]


def load_member(config: MemberConfig) -> LocalMember:
    """Load a model and its tokenizer; see `load_members`.

    Args:
        config: The member's configuration.
    """
    return load_members([config])[0]


def check_source(config: MemberConfig) -> None:
    """Check what needs no weights: the folder, the dtype, the device, and the packages.

    Raises:
        LoadError: The path is a folder without a checkpoint, or it looks like a folder's and there is none.
        ConfigError: The dtype or device is unknown or unavailable, or a package is missing.
    """
    folder = Path(config.path)
    looks_local = folder.exists() or config.path.startswith((".", "/")) or config.path.count("/") > 1
    if looks_local:
        missing = _missing(folder)
        if missing:
            raise LoadError(
                f"member {config.path} is no checkpoint: {missing}",
                hint="give a hub id, or a folder that save_pretrained wrote: config.json, safetensors, tokenizer files",
            )
    named_dtype(config)
    if config.quantization is not None:
        require_package(config.quantization)
        _require_accelerate(f"quantization={config.quantization!r}")
    if config.device_map is not None:
        _require_accelerate(f"device_map={config.device_map!r}")
    elif config.device != "auto":
        _device(config.device)


def _missing(folder: Path) -> str | None:
    """What a local folder lacks to be a checkpoint; None where it lacks nothing."""
    if not folder.is_dir():
        return f"{folder.name} is a file, not a folder" if folder.is_file() else "it is no folder"
    if (adapter := find_adapter(str(folder))) is not None:
        adapter.check()
        return None
    gguf = next(folder.glob("*.gguf"), None)
    if gguf is not None and not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        return f"GGUF files such as {gguf.name} are not read"
    if not (folder / CONFIG).is_file():
        return f"it has no {CONFIG}"
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        return "it has no tokenizer files, such as tokenizer.json"
    return None


def _shares(sources: Sequence[Checkpoint]) -> list[Share]:
    """The GPUs for members with ``device="auto"``."""
    free = free_gpu_memory() if sources else {}
    if not free:
        return [Share() for _ in sources]
    footprints = [source.footprint() for source in sources]
    shares = place(footprints, free)
    for source, footprint, share in zip(sources, footprints, shares, strict=True):
        if not share:
            _warn_of_cpu(source, footprint, free)
        elif len(share) > 1:
            _require_accelerate(f"member {source.source.path} fits on no GPU alone, and to split it")
    return shares


def _warn_of_cpu(source: Checkpoint, footprint: Footprint, free: Mapping[int, int]) -> None:
    room = ", ".join(f"cuda:{gpu} {bytes_ / _GB:.1f} GB" for gpu, bytes_ in free.items())
    warnings.warn(
        f"member {source.source.path} takes {footprint.weights / _GB:.1f} GB, which beside the other members fits on "
        f"no GPU (free: {room}): it goes to the CPU, which is slow. Give quantization='bnb-nf4' or a smaller dtype, "
        "free memory, or give device='cpu' to keep it there",
        stacklevel=2,
    )


def _load(source: Checkpoint, share: Share | None) -> LocalMember:
    """Load a member.

    Args:
        source: Its checkpoint.
        share: Its share of the GPUs, empty for the CPU; None for the device that its configuration names.
    """
    config = source.source
    device = _device(config.device) if share is None else torch.device(f"cuda:{next(iter(share))}" if share else "cpu")
    placed = _placed(source, device, share)
    with source.reading():
        arguments = source.common if source.tokenizer_path == config.path else source.base_common
        tokenizer = AutoTokenizer.from_pretrained(source.tokenizer_path, **arguments)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source.base,
            output_loading_info=True,
            **_precision(source, on_cpu=config.device_map is None and device.type == "cpu"),
            **placed,
            **({"use_safetensors": True} if config.safetensors_only else {}),
            **source.base_common,
        )
        _check_whole(config, loaded)
        if source.adapter is not None and source.adapter.base != config.path:  # else transformers has loaded both
            model = _adapted(source, model)
        if not placed:
            model = model.to(device)
    member = LocalMember(model, tokenizer, config.label, folder=source.folder, compile=config.compile)
    member.source, member.chat_template_kwargs = config, config.chat_template_kwargs
    return member


def _placed(source: Checkpoint, device: torch.device, share: Share | None) -> dict[str, Any]:
    """Arguments with which `transformers` places the weights; empty where the model is moved after loading."""
    if source.source.device_map is not None:
        return {"device_map": source.source.device_map}
    if share and len(share) > 1:
        return {"device_map": "sequential", "max_memory": share}
    if source.quantized:  # some quantized weights are packed for one device and cannot be moved
        _require_accelerate(f"member {source.source.path} is quantized, and to load it")
        return {"device_map": {"": device}}
    return {}


def _precision(source: Checkpoint, *, on_cpu: bool) -> dict[str, Any]:
    """Arguments for the dtype and the quantization."""
    dtype = source.dtype(on_cpu=on_cpu)
    arguments: dict[str, Any] = {"dtype": dtype or "auto"}
    if quantization := source.source.quantization:
        arguments["quantization_config"] = quantizer(quantization, dtype or source.config.dtype or torch.float32)
    return arguments


def _adapted(source: Checkpoint, base: PreTrainedModel) -> PreTrainedModel:
    """The base with the adapter's layers in it.

    Raises:
        LoadError: Its weights are pickled, do not fit the base, or are not whole.
    """
    path, config = source.source.path, source.source
    if config.safetensors_only and source.file(ADAPTER_WEIGHTS) is None:
        raise LoadError(
            f"the adapter {path} has no {ADAPTER_WEIGHTS}",
            hint="save it again with peft, which writes safetensors; pickled weights load with safetensors_only=False",
        )
    where = {key: value for key, value in source.common.items() if key != "trust_remote_code"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # peft would initialize them
        warnings.filterwarnings("ignore", category=FutureWarning)  # of peft's own calls of transformers
        try:
            model = require("peft", "adapters").PeftModel.from_pretrained(base, path, **where)
        except UserWarning as error:
            raise LoadError(
                f"the adapter {path} is not whole: {first_lines(error)}",
                hint="save or download it again; its adapter_config.json and its weights must belong together",
            ) from error
    adapted: PreTrainedModel = model.get_base_model()
    return adapted


def _check_whole(config: MemberConfig, loaded: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights: `transformers` would initialize them with random numbers.

    Raises:
        LoadError: Weights are missing or of another shape.
    """
    lacking = sorted({*loaded["missing_keys"], *(str(key) for key in loaded["mismatched_keys"])})
    if lacking:
        raise LoadError(
            f"member {config.path} is not whole: {len(lacking)} of its weights are missing or of another shape, the "
            f"first is {lacking[0]}",
            hint="download or save the checkpoint again; its config.json and its weights must belong together",
        )


def _require_accelerate(what: str) -> None:
    if find_spec("accelerate") is None:
        raise ConfigError(f"{what} needs accelerate", hint="pip install 'deepen-llm[accelerate]'")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name).item()  # raises on the meta device, too
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used: {first_lines(error)}",
            hint="give 'auto', 'cpu', or a device like 'cuda:0'",
        ) from error
    return torch.device(name)
