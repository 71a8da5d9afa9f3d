"""Journal of a tuning on disk, so that an interrupted tuning resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deepen_llm.errors import ConfigError


class Journal:
    """Scores by key, one line each.

    Args:
        folder: The folder of the file.
        about: What the scores depend on besides the candidates: members, examples, metric.

    Raises:
        ConfigError: The folder has the scores of another tuning, or is not writable.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._file = folder / "scores.jsonl"
        _claim(folder / "about.json", about)
        self._scores = dict(_read(self._file))

    def find(self, key: str) -> list[float] | None:
        """Look up the scores of a key; None if there are none."""
        return self._scores.get(key)

    def keep(self, key: str, scores: Sequence[float]) -> None:
        """Write the scores of a key immediately."""
        self._scores[key] = list(scores)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"of": key, "scores": list(scores)}) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder.

    Raises:
        ConfigError: Another process has locked it, or it is not writable.
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
    """Write what a folder's scores depend on; raise if it has the scores of another tuning."""
    written = json.dumps(about, indent=1, sort_keys=True)
    if file.exists():
        try:
            other = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            other = {}
        changed = [name for name in about if other.get(name) != json.loads(written)[name]]
        if changed:
            raise ConfigError(
                f"{file.parent} holds a tuning with other {' and '.join(changed)}",
                hint="give another folder, or delete this one",
            )
        return
    unfinished = file.with_suffix(".part")  # replaced atomically
    unfinished.write_text(written, encoding="utf-8")
    unfinished.replace(file)


def _read(file: Path) -> Iterator[tuple[str, list[float]]]:
    """Read the complete lines, and truncate an incomplete one."""
    if not file.exists():
        return
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        file.write_bytes(whole)
    for line in whole.split(b"\n"):
        with suppress(ValueError, LookupError, TypeError):  # a damaged line is scored again
            entry = json.loads(line)
            yield entry["of"], [float(score) for score in entry["scores"]]
