"""Row host: what a step costs beside the models and the fused step, measured with members that compute nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.floor import Pair
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio
from deepen_llm.testing.scripted import ScriptedLlama, TokenScript, scripted_model

_PROMPT = 32
_WARM = 16  # steps


class Idle(ScriptedLlama):
    """A model that writes a cache of one number for each token, and prefers its script's tokens."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        past_key_values: Any = None,
        **_: Any,
    ) -> Any:
        """Logits of the script, without a forward."""
        assert input_ids is not None  # noqa: S101 - members give ids
        assert position_ids is not None  # noqa: S101 - and positions
        state = torch.zeros(len(input_ids), 1, input_ids.shape[1], 1)
        if past_key_values is not None:
            past_key_values.update(state, state, 0)
        kept = position_ids[:, logits_to_keep] if isinstance(logits_to_keep, Tensor) else position_ids
        logits = torch.zeros(*kept.shape, self.config.vocab_size)
        if self.script is not None:
            self.script.add(logits, input_ids, attention_mask, kept, past_key_values)
        return _Output(logits)


class _Output:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the row host."""
    on_progress("members that compute nothing")
    tokens, prompt = setting.sizes.tokens, setting.prompt(_PROMPT)
    llm = EnsembleLLM([_idle(setting, shape.vocabulary) for shape in setting.shapes[:2]])
    fusing: list[float] = []
    _timed(llm.ensemble.fusion, "fuse", fusing)
    for member in llm.members:
        _timed(getattr(member, "model", None), "forward", fusing)
    shares: list[float] = []
    for _ in range(setting.sizes.repeats + 1):
        times, inside = [time.perf_counter()], [0.0]
        for _ in llm.stream(prompt, max_new_tokens=tokens):
            times.append(time.perf_counter())
            inside.append(sum(fusing))
        steps = [
            1e3 * (times[i] - times[i - 1] - inside[i] + inside[i - 1])
            for i in range(min(_WARM, len(times) - 1), len(times))
        ]
        shares.append(statistics.median(steps))
    note = f"{tokens} tokens at batch 1, fusion='surface' and the models' own time subtracted"
    yield RowResult("host", Ratio.of(shares), note, {"ms": shares})


def _idle(setting: BenchmarkSetting, vocabulary: int) -> Pair:
    tokenizer = setting.tokenizer(vocabulary)
    script = TokenScript(tokenizer.encode(setting.text), strength=20.0)
    return scripted_model(Idle, tokenizer, script), tokenizer


def _timed(owner: Any, name: str, spent: list[float]) -> None:
    """Let a function of an object add the seconds that its calls take."""
    own = getattr(owner, name)

    def timed(*given: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return own(*given, **options)
        finally:
            spent.append(time.perf_counter() - began)

    setattr(owner, name, timed)
