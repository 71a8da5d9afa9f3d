"""Store of tensors under a key: results that are computed once per set of members.

An entry is one safetensors file whose metadata holds its key and the checksum of its content. A file that is damaged,
truncated, foreign or unreadable is ignored and written again; if the folder is not writable, nothing is stored. Files
are replaced atomically, so that a concurrent reader sees the old one or the new one. They hold no text but the tokens
of a vocabulary.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

VARIABLE = "DEEPEN_CACHE"
FORMAT = 1  # raise it whenever the computation or the layout of any entry changes
MOST_FILES = 256
MOST_BYTES = 10**9
_STALE = 3600.0  # seconds after which the unfinished file of another process is deleted
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError)
_LOG = logging.getLogger(__name__)


def folder() -> Path | None:
    """The folder of entries: ``$DEEPEN_CACHE``, else in the user's cache folder; None if the variable is ``off``."""
    variable = os.environ.get(VARIABLE, "")
    if variable.lower() == "off":
        return None
    try:
        return Path(variable).expanduser() if variable else _user_caches() / "deepen-llm"
    except RuntimeError:  # no home folder
        return None


def kept(name: str, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Read an entry; if there is none, compute and write it.

    Args:
        name: The kind of entry, the beginning of its file's name.
        key: A fingerprint of all inputs of the computation (`deepen_llm.storage.fingerprints`).
        compute: Computes the tensors, on any device.

    Returns:
        The tensors: on the CPU if they were read, else as computed.
    """
    if (stored := read(name, key)) is not None:
        return stored
    computed = compute()
    write(name, key, computed)
    return computed


def read(name: str, key: str) -> dict[str, Tensor] | None:
    """Read an entry; None if there is no intact file of it."""
    path = _path(name, key)
    if path is None:
        return None
    try:
        data = path.read_bytes()  # not memory-mapped: a change of a mapped file ends the process
        header, checksum = _inspect(data)
        if header != {"key": key, "checksum": checksum}:
            raise ValueError("its key or its checksum differs")
        tensors = load(data)
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        _LOG.debug("ignoring %s: %s", path, error)
        return None
    with suppress(OSError):
        os.utime(path)  # the modification time is the time of the last use
    return tensors


def write(name: str, key: str, tensors: Mapping[str, Tensor]) -> None:
    """Write an entry if the folder is writable, and delete the least recently used ones beyond the limits."""
    path = _path(name, key)
    if path is None:
        return
    copies = {part: _copied(tensor) for part, tensor in tensors.items()}
    data = save(copies, {"key": key, "checksum": _inspect(save(copies))[1]})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
        _prune(path.parent)
    except OSError as error:
        _LOG.debug("%s is not stored: %s", path, error)


def _user_caches() -> Path:
    """The platform's folder for caches."""
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return caches if caches.is_absolute() else Path.home() / ".cache"


def _path(name: str, key: str) -> Path | None:
    parent = folder()
    return None if parent is None else parent / f"{name}-{key[:32]}.safetensors"


def _copied(tensor: Tensor) -> Tensor:
    """Copy a tensor, since safetensors refuses tensors that share memory."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _inspect(data: bytes) -> tuple[object, str]:
    """The metadata of a safetensors file, and the checksum of everything else: names, types, shapes and values."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", None)
    checksum = blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=32)
    checksum.update(memoryview(data)[start:])
    return metadata, checksum.hexdigest()


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _prune(parent: Path) -> None:
    """Delete the least recently used entries beyond the limits, and files of writers that did not finish."""
    entries = []
    for file in parent.iterdir():
        with suppress(FileNotFoundError):  # another process deletes files too
            stat = file.stat()
            if file.suffix == ".safetensors":
                entries.append((stat.st_mtime, stat.st_size, file))
            elif file.suffix == ".part" and stat.st_mtime < time.time() - _STALE:
                file.unlink()
    total = 0
    for rank, (_, size, file) in enumerate(sorted(entries, reverse=True)):
        total += size
        if rank >= MOST_FILES or total > MOST_BYTES:
            file.unlink(missing_ok=True)
