"""What a tuning has found so far, on disk: whoever interrupts it loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deepen_llm.errors import ConfigError


class Journal:
    """Scores by what was scored, a line each.

    Args:
        folder: Where the file lies.
        about: What the scores depend on beside the candidates: members, examples, metric.

    Raises:
        ConfigError: The folder holds another tuning's scores, or cannot be written to.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._file = folder / "scores.jsonl"
        _claim(folder / "about.json", about)
        self._scores = dict(_read(self._file))

    def find(self, key: str) -> list[float] | None:
        """The scores under a key; None where there are none yet."""
        return self._scores.get(key)

    def keep(self, key: str, scores: Sequence[float]) -> None:
        """Write scores under a key, at once."""
        self._scores[key] = list(scores)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"of": key, "scores": list(scores)}) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for oneself.

    Raises:
        ConfigError: Another process has it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(
            f"another process is tuning in {folder}", hint="wait for it, or give another folder"
        ) from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(f"{folder} cannot be written to: {error}", hint="give another folder") from error


def _claim(file: Path, about: dict[str, Any]) -> None:
    """Say what a folder's scores are of; those of something else are not touched."""
    said = json.dumps(about, indent=1, sort_keys=True)
    if file.exists():
        try:
            other = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            other = {}
        changed = [name for name in about if other.get(name) != json.loads(said)[name]]
        if changed:
            raise ConfigError(
                f"{file.parent} holds a tuning with other {' and '.join(changed)}",
                hint="give another folder, or delete this one",
            )
        return
    unfinished = file.with_suffix(".part")  # an interrupted process leaves the whole file or none
    unfinished.write_text(said, encoding="utf-8")
    unfinished.replace(file)


def _read(file: Path) -> Iterator[tuple[str, list[float]]]:
    """The whole lines; what an interrupted process wrote in part is cut off."""
    if not file.exists():
        return
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        file.write_bytes(whole)
    for line in whole.split(b"\n"):
        with suppress(ValueError, LookupError, TypeError):  # what a machine that went down has spoiled is scored anew
            entry = json.loads(line)
            yield entry["of"], [float(one) for one in entry["scores"]]
