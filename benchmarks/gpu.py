"""Rows gpu-*: two large members on one GPU, against what its memory allows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from transformers import PreTrainedModel

from benchmarks.decoding import PROMPT, ensemble
from benchmarks.fused import Distributions, Step
from benchmarks.rows import Result
from benchmarks.setting import Setting, Tell
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds, synchronize
from deepen_llm.fusion import Deepen

_BATCH = 32
_SHORT, _LONG = 16, 144  # tokens; the difference leaves out what prompts cost
_COPY_BYTES, _COPIES = 2**32, 5
_STEPS = 50


def decoding(setting: Setting, tell: Tell) -> Iterator[Result]:
    """Rows gpu-bandwidth and gpu-batch."""
    tell("building members")
    pairs = setting.pairs()
    one = ensemble(pairs)
    single = _rates(one, [setting.prompt(PROMPT)], setting, tell)
    weights = sum(_read_bytes(model) for model, _ in pairs)
    bandwidth = copy_bandwidth(setting.device)
    allowed = bandwidth / weights
    raw = {"tokens_per_second": single, "bytes": weights, "bandwidth": bandwidth}
    note = (
        f"{statistics.median(single):.1f} of {allowed:.1f} tokens/s: {weights / 1e9:.1f} GB of weights at "
        f"{bandwidth / 1e12:.2f} TB/s"
    )
    yield Result("gpu-bandwidth", Ratio.of([rate / allowed for rate in single]), note, raw)
    texts = setting.texts(_BATCH, PROMPT + _LONG)
    pairs = setting.pairs(2, texts)
    batch = _rates(ensemble(pairs, batch_size=_BATCH), [setting.prompt(PROMPT, text) for text in texts], setting, tell)
    base = statistics.median(single)
    note = f"{statistics.median(batch):,.0f} against {base:.1f} tokens/s"
    yield Result("gpu-batch", Ratio.of([rate / base for rate in batch]), note, {"batch": batch, "single": single})


def fused(setting: Setting, tell: Tell) -> Iterator[Result]:
    """Rows gpu-fused-*, between events of the GPU."""
    step = Step(setting, Deepen())
    for kind in ("peaked", "flat"):
        tell(f"{kind} distributions")
        distributions = Distributions(setting, kind)
        step.warm(distributions, setting.sizes.warm)
        drawn = [distributions.draw() for _ in range(_STEPS)]
        took = [1e3 * device_seconds(partial(step.fuse, logits)) for logits in drawn]
        note = f"{_STEPS} steps, events of the GPU, fusion='deepen'"
        yield Result(f"gpu-fused-{kind}", Ratio.of(took), note, {"ms": took})


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by the best of a few large copies."""
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * _COPY_BYTES / min(device_seconds(lambda: target.copy_(source)) for _ in range(_COPIES))


def _rates(llm: EnsembleLLM, prompts: list[str], setting: Setting, tell: Tell) -> list[float]:
    """Tokens per second after the prompts, all rows together."""

    def generation(tokens: int) -> float:
        return seconds(lambda: llm.generate(prompts, max_new_tokens=tokens))

    tell(f"{len(prompts)} rows, first run")
    generation(_LONG)
    sides = {"short": lambda: generation(_SHORT), "long": lambda: generation(_LONG)}
    took = in_turn(sides, setting.sizes.repeats, lambda text: tell(f"{len(prompts)} rows, {text}"))
    made = len(prompts) * (_LONG - _SHORT)
    return [made / (long - short) for short, long in zip(took["short"], took["long"], strict=True)]


def _read_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights that a token's forward reads: of an input embedding with no other use, one row only."""
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
