"""Rows specialists-*: the bundled tiny models, for information; with such small models overhead dominates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.floor import Floor
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM, specialists
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds

_STEPS = 20


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure all three on a question of the test set; texts that end early count with their length."""
    on_progress("loading")
    llm = EnsembleLLM.from_pretrained(specialists.paths(), device=str(setting.device))
    members: Any = llm.members
    floor = Floor([(member.model, member.tokenizer) for member in members])
    prompt, tokens = specialists.questions("test")[0].question, 8
    lengths: list[int] = []
    sides = {
        "ours": lambda: seconds(lambda: lengths.append(len(llm.generate(prompt, max_new_tokens=tokens).tokens))),
        "floor": lambda: seconds(lambda: floor.generate([prompt], lengths[-1])),
    }
    in_turn(sides, 1)
    took = in_turn(sides, setting.sizes.repeats + 2, on_progress)
    made = lengths[-1]
    yield RowResult("specialists-plain", Ratio.between(took["ours"], took["floor"]), f"{made} tokens", took)
    yield RowResult(
        "specialists-speed", Ratio.of([made / one for one in took["ours"]]), "plain decoding, batch 1", took
    )
    forwards, fused = _step(llm, prompt)
    base = statistics.median(forwards)
    note = f"{1e3 * statistics.median(fused):.2f} ms beside {1e3 * base:.2f} ms"
    raw = {"fused": fused, "forwards": forwards}
    yield RowResult("specialists-fused", Ratio.of([one / base for one in fused]), note, raw)


@torch.inference_mode()
def _step(llm: EnsembleLLM, prompt: str) -> tuple[list[float], list[float]]:
    """Measure seconds of the members' one-token forwards, and of the fused step on their logits after the prompt."""
    members: Any = llm.members
    logits: list[Tensor] = []
    for member in members:
        ids = torch.tensor([list(member.encode_prompt(prompt).ids)], device=member.model.device)
        logits.append(member.model(ids).logits[:, -1].float())
    weights = torch.full((1, len(members)), 1 / len(members))
    models = [member.model for member in members]

    def forward() -> None:
        for model in models:
            model(input_ids=torch.tensor([[1]], device=model.device), use_cache=True)

    took = in_turn(
        {
            "forwards": lambda: seconds(forward),
            "fused": lambda: seconds(lambda: llm.ensemble.fusion.fuse(logits, weights)),
        },
        _STEPS,
    )
    return took["forwards"], took["fused"]
