"""Rows gpu-*: two large members on one GPU, relative to its memory bandwidth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from transformers import PreTrainedModel

from benchmarks.decoding import PROMPT, ensemble
from benchmarks.fused import Distributions, Step
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds, synchronize
from deepen_llm.fusion import Deepen

_BATCH = 32
_SHORT, _LONG = 16, 144  # tokens; the difference of their times is without the prompts
_COPY_BYTES, _COPIES = 2**32, 5
_STEPS = 50


def decoding(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the rows gpu-bandwidth and gpu-batch."""
    on_progress("building members")
    pairs = setting.pairs()
    one = ensemble(pairs)
    single = _rates(one, [setting.prompt(PROMPT)], setting, on_progress)
    weights = sum(_read_bytes(model) for model, _ in pairs)
    bandwidth = copy_bandwidth(setting.device)
    allowed = bandwidth / weights
    raw = {"tokens_per_second": single, "bytes": weights, "bandwidth": bandwidth}
    note = (
        f"{statistics.median(single):.1f} of {allowed:.1f} tokens/s: {weights / 1e9:.1f} GB of weights at "
        f"{bandwidth / 1e12:.2f} TB/s"
    )
    yield RowResult("gpu-bandwidth", Ratio.of([rate / allowed for rate in single]), note, raw)
    texts = setting.texts(_BATCH, PROMPT + _LONG)
    pairs = setting.pairs(2, texts)
    batch = _rates(
        ensemble(pairs, batch_size=_BATCH), [setting.prompt(PROMPT, text) for text in texts], setting, on_progress
    )
    base = statistics.median(single)
    note = f"{statistics.median(batch):,.0f} against {base:.1f} tokens/s"
    yield RowResult("gpu-batch", Ratio.of([rate / base for rate in batch]), note, {"batch": batch, "single": single})


def fused(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the rows gpu-fused-*, between events of the GPU."""
    step = Step(setting, Deepen())
    for kind in ("peaked", "flat"):
        on_progress(f"{kind} distributions")
        distributions = Distributions(setting, kind)
        step.warm(distributions, setting.sizes.warm)
        drawn = [distributions.draw() for _ in range(_STEPS)]
        took = [1e3 * device_seconds(partial(step.fuse, logits)) for logits in drawn]
        note = f"{_STEPS} steps, events of the GPU, fusion='deepen'"
        yield RowResult(f"gpu-fused-{kind}", Ratio.of(took), note, {"ms": took})


def copy_bandwidth(device: torch.device) -> float:
    """Measure bytes read and written per second, by the fastest of a few large copies."""
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * _COPY_BYTES / min(device_seconds(lambda: target.copy_(source)) for _ in range(_COPIES))


def _rates(llm: EnsembleLLM, prompts: list[str], setting: BenchmarkSetting, on_progress: OnProgress) -> list[float]:
    """Measure tokens per second after the prompts, summed over the batch."""

    def generation(tokens: int) -> float:
        return seconds(lambda: llm.generate(prompts, max_new_tokens=tokens))

    on_progress(f"{len(prompts)} rows, first run")
    generation(_LONG)
    sides = {"short": lambda: generation(_SHORT), "long": lambda: generation(_LONG)}
    took = in_turn(sides, setting.sizes.repeats, lambda text: on_progress(f"{len(prompts)} rows, {text}"))
    made = len(prompts) * (_LONG - _SHORT)
    return [made / (long - short) for short, long in zip(took["short"], took["long"], strict=True)]


def _read_bytes(model: PreTrainedModel) -> int:
    """The bytes of weights that a token's forward reads; an untied input embedding counts one vector only."""
    total = sum(one.numel() * one.element_size() for one in model.parameters())
    embedding = model.get_input_embeddings().weight
    tied = embedding is model.get_output_embeddings().weight
    return int(total - (0 if tied else embedding.numel() * embedding.element_size()))


def device_seconds(work: Callable[[], object]) -> float:
    """How long something takes on the GPU, between two of its events."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    synchronize()
    return float(before.elapsed_time(after)) / 1e3
