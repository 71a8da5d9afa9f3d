"""Rows plain, drafts, batch and members: time of decoding, relative to the floor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.floor import Floor, Pair
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio, Seconds, in_turn, seconds

DRAFT_TOKENS = 2
"""Main-model tokens in the longest draft."""

PROMPT = 32
"""Tokens of a short prompt."""


def ensemble(pairs: Sequence[Pair], **settings: Any) -> EnsembleLLM:
    """Make the ensemble to measure, with the default fusion method."""
    return EnsembleLLM(pairs, **settings)


def single(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the rows plain and drafts, in turn with one floor."""
    pairs, prompt, tokens = setting.pairs(), setting.prompt(PROMPT), setting.sizes.tokens
    sides = {"floor": lambda: seconds(lambda: Floor(pairs).generate([prompt], tokens))}
    chosen: list[Sequence[int]] = []
    for name, draft_tokens in (("plain", 0), ("drafts", DRAFT_TOKENS)):
        llm = ensemble(pairs, draft_tokens=draft_tokens)
        on_progress(f"{name}, first run")
        llm.generate(prompt, max_new_tokens=16)
        sides[name] = _generation(llm, [prompt], tokens, chosen)
    took = in_turn(sides, setting.sizes.repeats, on_progress)
    if any(list(one) != list(chosen[0]) for one in chosen):
        raise RuntimeError("drafts changed what is decoded")
    share = agreement(pairs[0], prompt, chosen[0])
    for name, said in (("plain", ""), ("drafts", f", {DRAFT_TOKENS} a draft, agreement {share:.0%}")):
        yield _against_floor(name, name, took, tokens, said)


def batch(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the row batch: distinct texts, prompts of different lengths; smaller batches for the plot."""
    sizes = setting.sizes
    curve: dict[str, list[float]] = {"x": [], "ours": [], "floor": []}
    took: dict[str, Seconds] = {}
    for rows in sorted({1, max(2, sizes.batch // 4), sizes.batch}):
        texts = setting.texts(rows, PROMPT + sizes.batch_tokens)
        pairs = setting.pairs(2, texts)
        prompts = [setting.prompt(PROMPT - 8 + 16 * row // rows, text) for row, text in enumerate(texts)]
        took = _beside_floor(
            pairs, prompts, sizes.batch_tokens, 2 if rows < sizes.batch else sizes.repeats, on_progress
        )
        curve["x"].append(rows)
        for side in ("ours", "floor"):
            curve[side].append(statistics.median(took[side]) / sizes.batch_tokens)
    total = sizes.batch * sizes.batch_tokens
    yield _against_floor("batch", "ours", took, total, f", {sizes.batch} rows of {sizes.batch_tokens}", curve)


def members(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the row members: one to all members; the fourth has the main model's vocabulary."""
    prompt, tokens = setting.prompt(PROMPT), setting.sizes.context_tokens
    curve: dict[str, list[float]] = {"x": [], "ours": [], "floor": []}
    ratio = Ratio(0, 0, 0)
    for count in range(1, len(setting.shapes) + 1):
        pairs = setting.pairs(count)
        llm, floor = ensemble(pairs), Floor(pairs)
        sides = {
            "ours": partial(per_token, llm, prompt, tokens),
            "floor": partial(floor.seconds_per_token, prompt, tokens),
        }
        took = in_turn(sides, 2, partial(_prefixed, on_progress, f"{count} members"))
        ratio = Ratio.between(took["ours"], took["floor"])
        curve["x"].append(count)
        for side in ("ours", "floor"):
            curve[side].append(statistics.median(took[side]))
    yield RowResult("members", ratio, f"{len(setting.shapes)} members, time of a token", {"curve": curve})


def per_token(llm: EnsembleLLM, prompt: str, tokens: int) -> float:
    """Compute the time of a token after the first, that is, without the prompt."""
    first = 0.0
    for _ in llm.stream(prompt, max_new_tokens=tokens):
        first = first or time.perf_counter()
    return (time.perf_counter() - first) / (tokens - 1)


@torch.inference_mode()
def agreement(main: Pair, prompt: str, chosen: Sequence[int]) -> float:
    """Compute the share of an ensemble's tokens that the main model would have chosen alone."""
    model, tokenizer = main
    before = tokenizer(prompt).input_ids
    logits = model(torch.tensor([[*before, *chosen]], device=model.device)).logits[0, len(before) - 1 : -1]
    return float((logits.argmax(-1).cpu() == torch.tensor(chosen)).float().mean())


def _prefixed(on_progress: OnProgress, prefix: str, text: str) -> None:
    on_progress(f"{prefix}: {text}")


def _generation(
    llm: EnsembleLLM, prompts: list[str], tokens: int, kept: list[Sequence[int]] | None = None
) -> Callable[[], float]:
    """Time a generation, and store the first prompt's tokens."""

    def generate() -> None:
        outputs = llm.generate(prompts, max_new_tokens=tokens)
        if kept is not None:
            kept.append(outputs[0].tokens)

    return lambda: seconds(generate)


def _beside_floor(
    pairs: Sequence[Pair], prompts: list[str], tokens: int, repeats: int, on_progress: OnProgress
) -> dict[str, Seconds]:
    llm, floor = ensemble(pairs, batch_size=len(prompts)), Floor(pairs)
    llm.generate(prompts, max_new_tokens=2)
    sides = {
        "ours": _generation(llm, prompts, tokens),
        "floor": lambda: seconds(lambda: floor.generate(prompts, tokens)),
    }
    return in_turn(sides, repeats, partial(_prefixed, on_progress, f"{len(prompts)} rows"))


def _against_floor(
    name: str, side: str, took: dict[str, Seconds], tokens: int, said: str, curve: object = None
) -> RowResult:
    ours, floor = (tokens / statistics.median(took[one]) for one in (side, "floor"))
    note = f"{tokens} tokens{said}: {ours:.1f} tokens/s, floor {floor:.1f}"
    return RowResult(
        name, Ratio.between(took[side], took["floor"]), note, {**took, **({"curve": curve} if curve else {})}
    )
