"""Members' logits, kept on disk by the tokens before them: what one trial read, no other trial reads again."""

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

from deepen_llm.errors import ConfigError
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.storage import fingerprints

_KEY_BYTES = 16


class Recording:
    """Log-probabilities by the token ids before them, in two files that only grow: keys, and rows of float16.

    What an interrupted process wrote in part counts as not written.

    Args:
        stem: Where the files lie, without their suffixes.
        width: The width of the member's logits, V.
    """

    def __init__(self, stem: Path, width: int) -> None:
        self._row_bytes, self._lock = 2 * width, threading.Lock()
        self._keys, self._rows = (_opened(stem.with_suffix(suffix)) for suffix in (".keys", ".rows"))
        keys, rows = self._keys.read(), self._rows.seek(0, 2)
        count = min(len(keys) // _KEY_BYTES, rows // self._row_bytes)
        self._keys.truncate(count * _KEY_BYTES)
        self._rows.truncate(count * self._row_bytes)
        self._places = {keys[_KEY_BYTES * i : _KEY_BYTES * (i + 1)]: i for i in range(count)}
        self._count = count  # of rows in the file, whether or not each has a key of its own

    def recall(self, ids: Sequence[int]) -> Tensor | None:
        """The log-probabilities after these token ids, fp32 ``[V]``; None where they were not read yet."""
        place = self._places.get(_key(ids))
        if place is None:
            return None
        with self._lock:
            self._rows.seek(place * self._row_bytes)
            row = np.frombuffer(self._rows.read(self._row_bytes), np.float16)
        return torch.from_numpy(row.astype(np.float32))

    def keep(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        """Keep logits ``[V]``; returns them as `recall` will, so that the first trial sees what the others see."""
        rounded, key = logits.log_softmax(-1).half().cpu(), _key(ids)
        with self._lock:
            if key not in self._places:
                self._rows.seek(0, 2)
                self._rows.write(rounded.numpy().tobytes())
                self._keys.seek(0, 2)
                self._keys.write(key)
                self._places[key], self._count = self._count, self._count + 1
        return rounded.float()

    def close(self) -> None:
        """Write what is left, and close the files."""
        self._rows.close()
        self._keys.close()


class RecordedMember(LocalMember):
    """A member that shares another one's model, and reads no text that was read before.

    Args:
        member: The other one.
        recording: Where its logits are kept.
    """

    def __init__(self, member: LocalMember, recording: Recording) -> None:
        vars(self).update(vars(member))
        self.recording, self._unrecorded = recording, member
        self._prompts: dict[tuple[int, ...], Tensor] = {}

    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """See `Member`; kept in memory, since the logits of whole prompts would fill a disk."""
        new = {prompt.ids: prompt for prompt in prompts if prompt.ids not in self._prompts}
        found = self._unrecorded.prompt_logprobs(list(new.values()))
        self._prompts.update(zip(new, found, strict=True))
        return [self._prompts[prompt.ids] for prompt in prompts]


@contextmanager
def recorded(members: Sequence[Member], folder: Path) -> Iterator[list[Member]]:
    """Members that share their models with the given ones and read each text once; files lie in a folder.

    Raises:
        ConfigError: The folder cannot be written to, or a member's logits cannot be recorded.
    """
    with ExitStack() as stack:
        recordings: dict[Path, Recording] = {}  # members with the same weights share one
        yield [_recorded(member, folder, recordings, stack) for member in members]


def _recorded(member: Member, folder: Path, recordings: dict[Path, Recording], stack: ExitStack) -> Member:
    if not isinstance(member, LocalMember):
        raise ConfigError(
            f"member {member.name} is no local model, and only a local model's logits are recorded",
            hint="tune an ensemble of local members",
        )
    made_of = ["recording", fingerprints.of_model(member.model), member.vocabulary.tokenizer_size]
    stem = folder / fingerprints.fingerprint(made_of)
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
