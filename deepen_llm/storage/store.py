"""What is computed once per set of members, kept on disk for the next start: tensors under a key.

An entry is one safetensors file that names its key and the checksum of its content. A file that is damaged, cut
short, foreign or unreadable counts as none and is written anew; a folder that cannot be written to means that nothing
is kept. Files are replaced as a whole, so that a reader beside a writer sees the old one or the new one. Nothing in
them is secret, nor any text but the tokens of a vocabulary.
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
FORMAT = 1  # to be raised whenever something that is kept would be computed or laid out otherwise
MOST_FILES = 256
MOST_BYTES = 10**9
_STALE = 3600.0  # seconds after which another process's unfinished file counts as given up
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError)
_LOG = logging.getLogger(__name__)


def folder() -> Path | None:
    """Where entries lie: in `$DEEPEN_CACHE`, else in the user's cache folder; None if the variable says `off`."""
    given = os.environ.get(VARIABLE, "")
    if given.lower() == "off":
        return None
    try:
        return Path(given).expanduser() if given else _user_caches() / "deepen-llm"
    except RuntimeError:  # there is no home
        return None


def kept(name: str, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Read an entry, or compute and write it.

    Args:
        name: What it is, for its file's name.
        key: A fingerprint of everything that it is computed from (`deepen_llm.storage.fingerprints`).
        compute: Computes it: tensors on any device, of any shape.

    Returns:
        Its tensors: on the CPU where they were read, else as computed.
    """
    if (found := read(name, key)) is not None:
        return found
    computed = compute()
    write(name, key, computed)
    return computed


def read(name: str, key: str) -> dict[str, Tensor] | None:
    """Read an entry; None if there is none that is whole."""
    place = _place(name, key)
    if place is None:
        return None
    try:
        data = place.read_bytes()  # not mapped: a file that changes under a map ends the process
        header, checksum = _inspect(data)
        if header != {"key": key, "checksum": checksum}:
            raise ValueError("its key or its checksum is another one")
        tensors = load(data)
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        _LOG.debug("ignoring %s: %s", place, error)
        return None
    with suppress(OSError):
        os.utime(place)  # used last, dropped last
    return tensors


def write(name: str, key: str, tensors: Mapping[str, Tensor]) -> None:
    """Write an entry, if that is possible, and drop the oldest ones where there are too many."""
    place = _place(name, key)
    if place is None:
        return
    apart = {part: _plain(tensor) for part, tensor in tensors.items()}
    data = save(apart, {"key": key, "checksum": _inspect(save(apart))[1]})
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(place, data)
        _prune(place.parent)
    except OSError as error:
        _LOG.debug("%s is not kept: %s", place, error)


def _user_caches() -> Path:
    """The platform's folder for what programs can compute again."""
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if Path(given).is_absolute() else Path.home() / ".cache"


def _place(name: str, key: str) -> Path | None:
    where = folder()
    return None if where is None else where / f"{name}-{key[:32]}.safetensors"


def _plain(tensor: Tensor) -> Tensor:
    """A copy that shares no memory with other tensors, as safetensors wants them."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _inspect(data: bytes) -> tuple[object, str]:
    """The metadata of a safetensors file, and the checksum of all the rest: names, types, shapes and values."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", None)
    found = blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=32)
    found.update(memoryview(data)[start:])
    return metadata, found.hexdigest()


def _replace(place: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _prune(where: Path) -> None:
    """Drop the entries that were used longest ago beyond the bounds, and what unfinished writers left."""
    found = []
    for file in where.iterdir():
        with suppress(FileNotFoundError):  # another process drops too
            stat = file.stat()
            if file.suffix == ".safetensors":
                found.append((stat.st_mtime, stat.st_size, file))
            elif file.suffix == ".part" and stat.st_mtime < time.time() - _STALE:
                file.unlink()
    total = 0
    for rank, (_, size, file) in enumerate(sorted(found, reverse=True)):
        total += size
        if rank >= MOST_FILES or total > MOST_BYTES:
            file.unlink(missing_ok=True)
