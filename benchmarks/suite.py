"""All parts of the benchmark, and their runner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import callers, context, decoding, fused, gpu, host, memory, reference_row, specialists, startup
from benchmarks.rows import ROWS, RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress, circumstances

Measure = Callable[[BenchmarkSetting, OnProgress], Iterator[RowResult]]


@dataclass(frozen=True)
class Part:
    """Rows that are measured together.

    Attributes:
        names: Their names.
        measure: Yields their results.
    """

    names: tuple[str, ...]
    measure: Measure

    @property
    def gpu(self) -> bool:
        """Whether the part needs a GPU."""
        return ROWS[self.names[0]].gpu


_FUSED = [f"fused-{kind}{suffix}" for suffix in ("", "-bayes", "-surface") for kind in fused.KINDS]
PARTS = (
    Part(("plain", "drafts"), decoding.single),
    Part(("batch",), decoding.batch),
    Part(("context",), context.measure),
    Part(tuple(_FUSED), fused.measure),
    Part(("members",), decoding.members),
    Part(("reference",), reference_row.measure),
    Part(("host",), host.measure),
    Part(("callers", "first-token", "second-turn"), callers.measure),
    Part(("memory",), memory.measure),
    Part(("startup-first", "startup-second"), startup.measure),
    Part(("specialists-plain", "specialists-speed", "specialists-fused"), specialists.measure),
    Part(("gpu-bandwidth", "gpu-first", "gpu-drafts", "gpu-batch-8", "gpu-batch"), gpu.decoding),
    Part(("gpu-small",), gpu.small),
    Part(tuple(f"gpu-{name}" for name in _FUSED if "broad" not in name), gpu.fused),
)


class Suite:
    """One run.

    Args:
        rows: Names of the rows to measure; all if empty.
        cpu: The setting of the rows for any machine; None to leave them out.
        gpu: The setting of the rows for a GPU; None to leave them out.
    """

    def __init__(self, rows: Collection[str], cpu: BenchmarkSetting | None, gpu: BenchmarkSetting | None) -> None:
        self._rows, self._cpu, self._gpu = rows or ROWS, cpu, gpu
        self._found: dict[str, RowResult] = {}

    @property
    def parts(self) -> list[Part]:
        """The parts to measure."""
        return [part for part in PARTS if set(part.names) & set(self._rows) and self._setting(part)]

    @property
    def names(self) -> list[str]:
        """The names of the rows to measure."""
        return [name for part in self.parts for name in part.names if name in self._rows]

    @property
    def results(self) -> list[RowResult]:
        """The results so far, one per row."""
        return [self._found.get(name) or RowResult(name, None, self._why_not(name)) for name in ROWS]

    def run(self, on_progress: Callable[[Part, str], None]) -> Iterator[RowResult]:
        """Measure part by part; a failed part does not affect the others."""
        for part in self.parts:
            for result in self._measured(part, partial(on_progress, part)):
                if result.name in self._rows:
                    self._found[result.name] = result
                    yield result

    def describe(self) -> dict[str, Any]:
        """Describe the run; of two settings, that on the GPU."""
        setting = self._gpu or self._cpu
        return setting.describe() if setting else circumstances(torch.device("cpu"))

    def _measured(self, part: Part, on_progress: OnProgress) -> Iterator[RowResult]:
        done: set[str] = set()
        setting = self._setting(part)
        if setting is None:
            return
        try:
            for result in part.measure(setting, on_progress):
                done.add(result.name)
                yield result
        except Exception as error:
            yield from (_failure(name, error) for name in part.names if name not in done)

    def _setting(self, part: Part) -> BenchmarkSetting | None:
        return self._gpu if part.gpu else self._cpu

    def _why_not(self, name: str) -> str:
        if name not in self._rows:
            return "left out (--rows)"
        if ROWS[name].gpu and self._gpu is None:
            return "left out (--cpu)" if torch.cuda.is_available() else "no GPU here"
        if not ROWS[name].gpu and self._cpu is None:
            return "left out (--gpu)"
        return "interrupted before"


def _failure(name: str, error: Exception) -> RowResult:
    lines = str(error).strip().splitlines() or [""]
    return RowResult(name, None, f"failed: {type(error).__name__}: {lines[0]}", failed=True)
