"""Recordings of members' logits on disk, by the tokens before them, so that trials share forward passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import ConfigError
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.storage import fingerprints

_KEY_BYTES = 16


class Recording:
    """Log-probabilities by the token ids before them, in two append-only files: keys, and vectors of float16.

    Incomplete entries of an interrupted process are truncated.

    Args:
        stem: The path of the files without their suffixes.
        width: The width of the member's logits, V.
    """

    def __init__(self, stem: Path, width: int) -> None:
        self._entry_bytes = 2 * width
        self._lock = threading.Lock()
        self._keys, self._values = (_opened(stem.with_suffix(suffix)) for suffix in (".keys", ".rows"))
        keys, size = self._keys.read(), self._values.seek(0, 2)
        count = min(len(keys) // _KEY_BYTES, size // self._entry_bytes)
        self._keys.truncate(count * _KEY_BYTES)
        self._values.truncate(count * self._entry_bytes)
        self._indices = {keys[_KEY_BYTES * i : _KEY_BYTES * (i + 1)]: i for i in range(count)}
        self._count = count  # of entries in the file; a key may have several

    def recall(self, ids: Sequence[int]) -> Tensor | None:
        """Read the log-probabilities after some token ids, fp32 ``[V]``; None if they are not recorded."""
        index = self._indices.get(_key(ids))
        if index is None:
            return None
        with self._lock:
            self._values.seek(index * self._entry_bytes)
            values = np.frombuffer(self._values.read(self._entry_bytes), np.float16)
        return torch.from_numpy(values.astype(np.float32))

    def keep(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        """Record logits ``[V]``; return them rounded as `recall` does, so that all trials get equal values."""
        rounded, key = logits.log_softmax(-1).half().cpu(), _key(ids)
        with self._lock:
            if key not in self._indices:
                self._values.seek(0, 2)
                self._values.write(rounded.numpy().tobytes())
                self._keys.seek(0, 2)
                self._keys.write(key)
                self._indices[key], self._count = self._count, self._count + 1
        return rounded.float()

    def close(self) -> None:
        """Flush and close the files."""
        self._values.close()
        self._keys.close()


class RecordedMember(LocalMember):
    """A member that shares another one's model and runs no forward for recorded tokens.

    Args:
        member: The other member.
        recording: The recording of its logits.
    """

    def __init__(self, member: LocalMember, recording: Recording) -> None:
        vars(self).update(vars(member))
        self.recording = recording
        self._unrecorded = member
        self._prompts: dict[tuple[int, ...], Tensor] = {}

    @override
    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        # in memory, since the logits of whole prompts would fill a disk
        new = {prompt.ids: prompt for prompt in prompts if prompt.ids not in self._prompts}
        computed = self._unrecorded.prompt_logprobs(list(new.values()))
        self._prompts.update(zip(new, computed, strict=True))
        return [self._prompts[prompt.ids] for prompt in prompts]


@contextmanager
def recorded(members: Sequence[Member], folder: Path) -> Iterator[list[Member]]:
    """Wrap members so that their logits are recorded in a folder.

    Raises:
        ConfigError: The folder is not writable, or a member is not local.
    """
    with ExitStack() as stack:
        recordings: dict[Path, Recording] = {}  # one per distinct weights
        yield [_recorded(member, folder, recordings, stack) for member in members]


def _recorded(member: Member, folder: Path, recordings: dict[Path, Recording], stack: ExitStack) -> Member:
    if not isinstance(member, LocalMember):
        raise ConfigError(
            f"expected local members, whose logits can be recorded, got member {member.name}",
            hint="tune an ensemble of local members",
        )
    parts = ["recording", fingerprints.of_model(member.model), member.vocabulary.tokenizer_size]
    stem = folder / fingerprints.fingerprint(parts)
    if stem not in recordings:
        recordings[stem] = Recording(stem, member.vocabulary.size)
        stack.callback(recordings[stem].close)
    return RecordedMember(member, recordings[stem])


def _opened(file: Path) -> BinaryIO:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file.open("r+b")
    except OSError as error:
        raise ConfigError(
            f"the folder of recorded logits cannot be written to: {error}", hint="give a folder to write to"
        ) from error


def _key(ids: Sequence[int]) -> bytes:
    return blake2b(np.asarray(ids, np.int32).tobytes(), digest_size=_KEY_BYTES).digest()
