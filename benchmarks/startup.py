"""Rows startup-*: start-up time of an ensemble beyond loading, with the two largest vocabularies.

As a program (``python -m benchmarks.startup FOLDER FOLDER``), it starts once and prints the durations.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from benchmarks.apart import run_apart
from benchmarks.models import Shape, build
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM, specialists
from deepen_llm.diagnostics.timing import Ratio, seconds
from deepen_llm.members.local.member import LocalMember


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure in fresh processes, first with an empty cache folder, then with the files of the first time."""
    repeats = min(2, setting.sizes.repeats)
    with tempfile.TemporaryDirectory() as work:
        folders = _saved(setting, Path(work), on_progress)
        found: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
        for repeat in range(repeats):
            for time in found:
                on_progress(f"the {time} time, {repeat + 1} of {repeats}")
                cache = {"DEEPEN_CACHE": str(Path(work) / f"cache-{repeat}")}
                found[time].append(run_apart("startup", folders, cache))
    for time, runs in found.items():
        shares = Ratio.of([run["ensemble"] / run["tokenizers"] for run in runs])
        note = ", ".join(f"{run['ensemble']:.2f} s beside {run['tokenizers']:.2f} s" for run in runs)
        yield RowResult(f"startup-{time}", shares, note, {"runs": runs})


def _saved(setting: BenchmarkSetting, work: Path, on_progress: OnProgress) -> list[str]:
    """Save checkpoints of one thin layer, since only embeddings and tokenizers matter here."""
    *vocabularies, width = setting.sizes.vocabularies
    folders = []
    for vocabulary in vocabularies:
        on_progress(f"a checkpoint of {vocabulary:,} tokens")
        shape = Shape(vocabulary, width, 1, width, 4, 4, True)
        model = build(shape, device=torch.device("cpu"), dtype=torch.float32, seed=0)
        folder = str(work / str(vocabulary))
        model.save_pretrained(folder)
        setting.tokenizer(vocabulary).save_pretrained(folder)
        folders.append(folder)
    return folders


def _members(models: Sequence[Any], tokenizers: Sequence[Any], folders: Sequence[str]) -> list[LocalMember]:
    """Make members of these folders, as loading does."""
    given = zip(models, tokenizers, folders, strict=True)
    return [LocalMember(model, tokenizer, folder=Path(folder)) for model, tokenizer, folder in given]


def main(folders: Sequence[str]) -> None:
    """Load the members, then make the ensemble."""
    transformers_logging.disable_progress_bar()
    AutoTokenizer.from_pretrained(specialists.path("atlas"))  # so that the library's own first-time imports are over
    tokenizers: list[Any] = []
    models: list[Any] = []
    took = {
        "tokenizers": seconds(lambda: tokenizers.extend(AutoTokenizer.from_pretrained(one) for one in folders)),
        "weights": seconds(lambda: models.extend(AutoModelForCausalLM.from_pretrained(one) for one in folders)),
        "ensemble": seconds(lambda: EnsembleLLM(_members(models, tokenizers, folders))),
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1:])
