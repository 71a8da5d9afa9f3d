"""Files of a checkpoint, in a local folder or on the hub, and whether it is an adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from deepen_llm.errors import LoadError

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_VIRTUAL_TOKENS = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT"}
_REMEDY = (
    "load base and adapter yourself with peft and give (model, tokenizer), or merge them (merge_and_unload) and save "
    "the result"
)


def find_file(path: str, name: str, *, revision: str | None = None, local_files_only: bool = False) -> Path | None:
    """One of a checkpoint's files, downloaded where it is not there yet; None where it has no such file.

    Args:
        path: A local folder or a hub id.
        name: The file's name.
        revision: The hub revision.
        local_files_only: Do not use the hub.

    Raises:
        LocalEntryNotFoundError: The hub cannot be reached, so it is not known whether there is such a file.
    """
    if Path(path).exists():
        local = Path(path) / name
        return local if local.is_file() else None
    try:
        return Path(hf_hub_download(path, name, revision=revision, local_files_only=local_files_only))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError) and not local_files_only:
            raise
        return None


@dataclass(frozen=True)
class Adapter:
    """Weights that change those of another checkpoint, its base.

    Attributes:
        path: Where the adapter is.
        base: The base's local folder or hub id.
        base_revision: The base's hub revision.
        kind: What PEFT calls its kind, such as ``LORA``.
    """

    path: str
    base: str
    base_revision: str | None
    kind: str

    def check(self) -> None:
        """Check that the adapter can be loaded.

        Raises:
            LoadError: peft is not installed, or the adapter is of a kind that adds virtual tokens, or its base is a
                local folder that does not exist.
        """
        about = f"member {self.path} is an adapter ({self.kind}) of {self.base}"
        if find_spec("peft") is None:
            raise LoadError(
                f"{about}, and loading it needs peft, which is not installed",
                hint=f"pip install 'deepen-llm[adapters]'; or {_REMEDY}",
            )
        if self.kind in _VIRTUAL_TOKENS:
            raise LoadError(
                f"{about} that adds virtual tokens to each text, which no member can have",
                hint="take an adapter that changes weights, such as LoRA, or a checkpoint without one",
            )
        if not Path(self.base).is_dir() and (self.base.startswith((".", "/", "~")) or self.base.count("/") > 1):
            raise LoadError(
                f"{about}, which is no folder here",
                hint=f"correct base_model_name_or_path in its {ADAPTER_CONFIG}; or {_REMEDY}",
            )


def find_adapter(path: str, **where: Any) -> Adapter | None:
    """The adapter that a folder or hub id holds; None where it holds a whole checkpoint.

    Args:
        path: A local folder or a hub id.
        where: ``revision`` and ``local_files_only``, as in `find_file`.

    Raises:
        LoadError: The adapter's configuration cannot be read, or it does not name its base.
    """
    whole = find_file(path, CONFIG, **where) is not None
    if whole and not (Path(path).is_dir() and (Path(path) / ADAPTER_WEIGHTS).is_file()):
        return None
    config_file = find_file(path, ADAPTER_CONFIG, **where)
    if config_file is None:
        return None
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        base = path if whole else config["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(
            f"member {path} is an adapter whose {ADAPTER_CONFIG} cannot be read: {error!r}",
            hint="save it again with peft",
        ) from error
    if not base:
        raise LoadError(
            f"member {path} is an adapter whose {ADAPTER_CONFIG} does not name its base",
            hint=f"name it as base_model_name_or_path in its {ADAPTER_CONFIG}; or {_REMEDY}",
        )
    return Adapter(path, str(base), config.get("revision"), str(config.get("peft_type", "unknown kind")))
