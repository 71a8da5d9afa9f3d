"""Row memory: bytes of an ensemble beyond weights and tokenizers, with the two largest vocabularies.

As a program (``python -m benchmarks.memory CACHE WORDS V V D``), it measures itself.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.apart import run_apart
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from benchmarks.text import Language
from benchmarks.tokenizers import tokenizer_of
from deepen_llm.diagnostics.timing import Ratio
from deepen_llm.fusion import Deepen
from deepen_llm.testing import FusibleMember
from deepen_llm.vocabulary import Vocabulary, shared_anchors

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Anchors, spaces and fused steps, in a process of its own."""
    *vocabularies, width = setting.sizes.vocabularies
    for vocabulary in vocabularies:
        on_progress(f"a tokenizer of {vocabulary:,} tokens")
        setting.tokenizer(vocabulary)
    on_progress("an ensemble in a separate process")
    found = run_apart("memory", [str(setting.cache), *map(str, (setting.sizes.words, *vocabularies, width))])
    anchors = 4.0 * len(vocabularies) * found["anchors"] * width
    sizes = " × ".join(f"{one:,}" for one in vocabularies)
    note = (
        f"{found['extra'] / 2**20:,.0f} MiB at the peak, {found['anchors']:,} anchors of {sizes} tokens, their "
        f"embeddings {anchors / 2**20:,.0f} MiB, D = {width}"
    )
    ratio = found["extra"] / anchors
    yield RowResult("memory", Ratio(ratio, ratio, ratio), note, found)


def main(cache: str, words: str, *sizes: str) -> None:
    """Prepare and fuse; print the additional bytes and the number of anchors."""
    *vocabularies, width = map(int, sizes)
    language = Language(int(words))
    tokenizers = [tokenizer_of(vocabulary, language, Path(cache)) for vocabulary in vocabularies]
    embeddings = [torch.randn(vocabulary, width) for vocabulary in vocabularies]
    _ = embeddings[0][:64] @ embeddings[0][:64].T  # the first product allocates memory of the library's own
    before = _restart_peak()
    read = [
        Vocabulary.from_tokenizer(one, size=len(embedding), end_of_text=[0])
        for one, embedding in zip(tokenizers, embeddings, strict=True)
    ]
    members = [FusibleMember("", *both) for both in zip(read, embeddings, strict=True)]
    fusion = Deepen().prepare(members, 0)
    for scale in (0.5, 4.0):  # flat and peaked
        fusion.fuse([scale * torch.randn(1, vocabulary) for vocabulary in vocabularies], torch.full((1, 2), 0.5))
    extra = _peak() - before
    anchors = shared_anchors(read).shape[1]
    print(json.dumps({"extra": extra, "anchors": anchors}))


def _restart_peak() -> int:
    """Return the bytes in use, and reset the peak if the system supports it."""
    if not _RESET.exists():
        return _peak()
    _RESET.write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak() -> int:
    if _STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(name: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main(*sys.argv[1:])
