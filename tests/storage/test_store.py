"""What is kept on disk: read back as it was written, or computed again; never an error."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from deepen_llm.storage import fingerprints, store
from tests.storage.store_process import write_and_read

KEY = fingerprints.fingerprint(["a key"])
WIDE = torch.arange(12, dtype=torch.float32).reshape(3, 4)
TENSORS = {
    "rows": WIDE,
    "columns": WIDE.T,  # shares its memory, and is not contiguous
    "half": torch.tensor([1.5, -torch.inf], dtype=torch.bfloat16),
    "scalar": torch.tensor(0.1, dtype=torch.float64),
    "none": torch.empty(0, 3, dtype=torch.int64),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def same(found: Mapping[str, Tensor] | None, expected: Mapping[str, Tensor]) -> bool:
    return found is not None and all(
        found[name].dtype == one.dtype and torch.equal(found[name], one) for name, one in expected.items()
    )


class Computed:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Mapping[str, Tensor]:
        self.times += 1
        return TENSORS


def only_file(cache: Path) -> Path:
    [file] = cache.iterdir()
    return file


def test_an_entry_is_computed_once_and_read_back_as_it_was(cache: Path) -> None:
    computed = Computed()
    entries = [store.kept("thing", KEY, computed) for _ in range(3)]
    assert computed.times == 1
    assert all(entry.keys() == TENSORS.keys() and same(entry, TENSORS) for entry in entries)
    assert only_file(cache).name.startswith("thing-")


def test_entries_of_other_keys_and_names_are_others() -> None:
    store.write("thing", KEY, TENSORS)
    assert store.read("thing", fingerprints.fingerprint(["another key"])) is None
    assert store.read("something", KEY) is None


def damages(data: bytes) -> Iterator[bytes]:
    other = fingerprints.fingerprint(["another key"])
    yield from (b"", data[:5], data[: len(data) // 2], data[:-1], data + b"\0", b"\xff" * 100, b"[" * 5000)
    yield save({"rows": WIDE})  # nobody's
    yield save({"rows": WIDE}, {"key": KEY})
    yield save({"rows": WIDE}, {"key": KEY, "checksum": "0" * 64})
    yield data.replace(KEY.encode(), other.encode())
    yield (2).to_bytes(8, "little") + b"[]"
    yield (4).to_bytes(8, "little") + b"null"


def test_a_damaged_or_foreign_file_is_computed_again_and_replaced(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.write("thing", KEY, TENSORS)
    file, computed = only_file(cache), Computed()
    whole = file.read_bytes()
    caplog.set_level(logging.DEBUG, store.__name__)
    for times, damaged in enumerate(damages(whole), start=1):
        file.write_bytes(damaged)
        assert store.read("thing", KEY) is None
        assert f"ignoring {file}" in caplog.text
        assert same(store.kept("thing", KEY, computed), TENSORS)
        assert computed.times == times
        assert same(store.read("thing", KEY), TENSORS)


def test_any_byte_that_is_another_is_noticed_or_does_no_harm(cache: Path) -> None:
    store.write("thing", KEY, TENSORS)
    file = only_file(cache)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        found = store.read("thing", KEY)
        assert found is None or same(found, TENSORS)


def test_an_entry_of_another_format_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprints.fingerprint(["a key"])
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert fingerprints.fingerprint(["a key"]) != before


@pytest.mark.parametrize("where", ["file", "file/below", "entry"])
def test_where_nothing_can_be_written_everything_is_computed(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if where == "entry":
        store.write("thing", KEY, TENSORS)
        entry = only_file(tmp_path / "deep" / "cache")
        entry.unlink()
        entry.mkdir()  # a folder that cannot be replaced by a file
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv(store.VARIABLE, str(tmp_path / where))
    caplog.set_level(logging.DEBUG, store.__name__)
    computed = Computed()
    assert all(same(store.kept("thing", KEY, computed), TENSORS) for _ in range(2))
    assert computed.times == 2
    assert "is not stored" in caplog.text
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_must_not_be_written_to_is_left_alone(cache: Path) -> None:
    cache.mkdir(mode=0o500, parents=True)
    assert same(store.kept("thing", KEY, Computed()), TENSORS)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_it_can_be_turned_off(off: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(store.VARIABLE, off)
    monkeypatch.chdir(tmp_path)
    computed = Computed()
    assert all(same(store.kept("thing", KEY, computed), TENSORS) for _ in range(2))
    assert computed.times == 2
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/deepen-llm"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/deepen-llm"),
        ("linux", {"XDG_CACHE_HOME": "{0}/xdg"}, "xdg/deepen-llm"),
        ("darwin", {"XDG_CACHE_HOME": "{0}/xdg"}, "home/Library/Caches/deepen-llm"),
        ("win32", {"LOCALAPPDATA": "{0}/local"}, "local/deepen-llm"),
        ("win32", {}, "home/.cache/deepen-llm"),
        ("linux", {"DEEPEN_CACHE": "~/own"}, "home/own"),
    ],
)
def test_the_folder_follows_the_platform(
    platform: str, variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (store.VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(store, "sys", SimpleNamespace(platform=platform))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert store.folder() == tmp_path / expected


def test_what_was_used_longest_ago_is_dropped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [fingerprints.fingerprint([place]) for place in range(5)]
    for age, key in enumerate(keys[:4]):
        store.write("thing", key, TENSORS)
        newest = max(cache.iterdir(), key=lambda file: file.stat().st_mtime)
        os.utime(newest, times=(0, 1000 + age))
    store.read("thing", keys[0])
    monkeypatch.setattr(store, "MOST_FILES", 3)
    store.write("thing", keys[4], TENSORS)
    assert [store.read("thing", key) is not None for key in keys] == [True, False, False, True, True]
    monkeypatch.setattr(store, "MOST_BYTES", only_size(cache))
    store.write("thing", keys[1], TENSORS)
    assert [store.read("thing", key) is not None for key in keys] == [False, True, False, False, False]


def only_size(cache: Path) -> int:
    [size] = {file.stat().st_size for file in cache.iterdir()}
    return size


def test_what_unfinished_writers_left_is_cleared_away(cache: Path) -> None:
    cache.mkdir(parents=True)
    old, young, foreign = (cache / name for name in (".old.part", ".young.part", "notes.txt"))
    for file in (old, young, foreign):
        file.touch()
    os.utime(old, times=(0, time.time() - 1e5))
    os.utime(foreign, times=(0, time.time() - 1e5))
    store.write("thing", KEY, TENSORS)
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_eight_processes_at_once_read_whole_entries(cache: Path) -> None:
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload([write_and_read.__module__])
    with context.Pool(8) as pool:
        assert pool.map(write_and_read, range(8), chunksize=1) == [0] * 8
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]


def test_an_embeddings_fingerprint_tells_any_row_of_another_training() -> None:
    embedding = torch.randn(3000, 100, generator=torch.Generator().manual_seed(0)).bfloat16()
    own = fingerprints.of_embedding(embedding)
    assert own == fingerprints.of_embedding(embedding.T.contiguous().T)
    others = [
        embedding.float(),
        embedding[:-1],
        embedding[:, :-1],
        embedding.view(6000, 50),
        embedding.view(torch.half),
    ]
    for row in range(0, 3000, 97):
        trained = embedding.clone()
        trained[row] *= 1.02
        others.append(trained)
    found = {fingerprints.of_embedding(other) for other in others}
    assert len(found) == len(others)
    assert own not in found


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (0, 4)])
def test_a_tiny_embedding_has_a_fingerprint(shape: tuple[int, int]) -> None:
    assert len(fingerprints.of_embedding(torch.zeros(shape))) == 64


def test_a_tensors_fingerprint_tells_every_number() -> None:
    ids = torch.arange(1000)
    others = [
        ids.int(),
        ids[:-1],
        ids.view(2, 500),
        ids.flip(0),
        *(ids + (ids == place) for place in range(0, 1000, 99)),
    ]
    assert fingerprints.of_tensor(ids) == fingerprints.of_tensor(ids.clone())
    assert len({fingerprints.of_tensor(other) for other in (ids, *others)}) == len(others) + 1
