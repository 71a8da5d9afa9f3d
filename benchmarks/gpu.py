"""Rows gpu-*: two large members on one GPU, relative to its memory bandwidth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from benchmarks.decoding import PROMPT, ensemble
from benchmarks.floor import Pair
from benchmarks.fused import Distributions, Step
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds, synchronize
from deepen_llm.fusion import Bayes, Deepen, Surface

_DRAFT = 4  # tokens
_SHORT, _LONG = 16, 144  # tokens; the difference of their times is without the prompts
_COPY_BYTES, _COPIES = 2**32, 5
_STEPS = 50


def decoding(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the rows gpu-bandwidth, gpu-first, gpu-drafts, gpu-batch-8 and gpu-batch."""
    on_progress("building members")
    pairs, prompts = setting.pairs(), [setting.prompt(PROMPT)]
    took = _times(ensemble(pairs), prompts, setting, on_progress)
    single = _rates(took)
    yield _share_of_bandwidth("gpu-bandwidth", pairs, single, setting.device)
    steady = [_SHORT / rate for rate in single]
    whole, rest = (1e3 * statistics.median(side) for side in (took["short"], steady))
    note = f"{_SHORT} tokens in {whole:.0f} ms, {rest:.0f} ms steadily"
    yield RowResult("gpu-first", Ratio.between(took["short"], steady), note, took)
    drafted = _rates(_times(ensemble(pairs, draft_tokens=_DRAFT), prompts, setting, on_progress))
    base = statistics.median(single)
    note = f"{statistics.median(drafted):.1f} against {base:.1f} tokens/s, drafts of {_DRAFT}"
    yield RowResult("gpu-drafts", Ratio.of([rate / base for rate in drafted]), note, {"drafted": drafted})
    for name, rows in (("gpu-batch-8", 8), ("gpu-batch", 32)):
        texts = setting.texts(rows, PROMPT + _LONG)
        llm = ensemble(setting.pairs(2, texts), batch_size=rows)
        batch = _rates(_times(llm, [setting.prompt(PROMPT, text) for text in texts], setting, on_progress), rows)
        note = f"{statistics.median(batch):,.0f} against {base:.1f} tokens/s"
        yield RowResult(name, Ratio.of([rate / base for rate in batch]), note, {"batch": batch, "single": single})


def small(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the row gpu-small: members of a billion parameters, beside which the host's share is large."""
    on_progress("building small members")
    shape = setting.shape if setting.shape == "tiny" else "1b"
    smaller = BenchmarkSetting(shape, setting.sizes, setting.device, setting.cache)
    pairs = smaller.pairs()
    rates = _rates(_times(ensemble(pairs), [smaller.prompt(PROMPT)], smaller, on_progress))
    yield _share_of_bandwidth("gpu-small", pairs, rates, setting.device)


def fused(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the rows gpu-fused-*, between events of the GPU."""
    for method, suffix in ((Deepen(), ""), (Bayes(), "-bayes"), (Surface(), "-surface")):
        step = Step(setting, method)
        for kind in ("peaked", "flat"):
            on_progress(f"{kind} distributions, {method.method}")
            distributions = Distributions(setting, kind)
            step.warm(distributions, setting.sizes.warm)
            drawn = [distributions.draw() for _ in range(_STEPS)]
            took = [1e3 * device_seconds(partial(step.fuse, logits)) for logits in drawn]
            note = f"{_STEPS} steps, events of the GPU, fusion={method.method!r}"
            yield RowResult(f"gpu-fused-{kind}{suffix}", Ratio.of(took), note, {"ms": took})


def _share_of_bandwidth(name: str, pairs: Sequence[Pair], rates: list[float], device: torch.device) -> RowResult:
    """Tokens per second over those that reading all weights once a token would allow."""
    weights, bandwidth = sum(_read_bytes(model) for model, _ in pairs), copy_bandwidth(device)
    allowed = bandwidth / weights
    note = (
        f"{statistics.median(rates):.1f} of {allowed:.1f} tokens/s: {weights / 1e9:.1f} GB of weights at "
        f"{bandwidth / 1e12:.2f} TB/s"
    )
    raw = {"tokens_per_second": rates, "bytes": weights, "bandwidth": bandwidth}
    return RowResult(name, Ratio.of([rate / allowed for rate in rates]), note, raw)


def copy_bandwidth(device: torch.device) -> float:
    """Measure bytes read and written per second, by the fastest of a few large copies."""
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * _COPY_BYTES / min(device_seconds(lambda: target.copy_(source)) for _ in range(_COPIES))


def _times(
    llm: EnsembleLLM, prompts: list[str], setting: BenchmarkSetting, on_progress: OnProgress
) -> dict[str, list[float]]:
    """Seconds of short and of long answers to all prompts together."""

    def generation(tokens: int) -> float:
        return seconds(lambda: llm.generate(prompts, max_new_tokens=tokens))

    on_progress(f"{len(prompts)} rows, first run")
    generation(_LONG)
    sides = {"short": lambda: generation(_SHORT), "long": lambda: generation(_LONG)}
    return in_turn(sides, setting.sizes.repeats, lambda text: on_progress(f"{len(prompts)} rows, {text}"))


def _rates(took: dict[str, list[float]], rows: int = 1) -> list[float]:
    """Tokens per second after the prompts, summed over the batch."""
    made = rows * (_LONG - _SHORT)
    return [made / (long - short) for short, long in zip(took["short"], took["long"], strict=True)]


def _read_bytes(model: PreTrainedModel) -> int:
    """The bytes of weights that a token's forward reads; an untied input embedding counts one vector only."""
    total = sum(one.numel() * one.element_size() for one in model.parameters())
    embedding = model.get_input_embeddings().weight
    tied = embedding is model.get_output_embeddings().weight
    return int(total - (0 if tied else embedding.numel() * embedding.element_size()))


def device_seconds(work: Callable[[], object]) -> float:
    """How long something takes on the GPU, between two of its events; on a CPU by the clock."""
    if not torch.cuda.is_available():
        return seconds(work)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    synchronize()
    return float(before.elapsed_time(after)) / 1e3
