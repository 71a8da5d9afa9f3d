"""The rows for a GPU run on a CPU, too, on tiny members: only their numbers mean nothing there."""

from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.rows import ROWS
from benchmarks.setting import QUICK, BenchmarkSetting


def test_every_row_for_a_gpu_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_COPY_BYTES", 2**20), ("_LONG", 20), ("_SHORT", 4), ("_STEPS", 2)):
        monkeypatch.setattr(gpu, name, value)
    setting = BenchmarkSetting("tiny", QUICK, torch.device("cpu"), tmp_path)
    found = [result for part in (gpu.decoding, gpu.small, gpu.fused) for result in part(setting, lambda _: None)]
    assert {result.name for result in found} == {name for name, row in ROWS.items() if row.gpu}
    assert all(result.ratio and result.ratio.value > 0 and result.note and result.raw for result in found)
