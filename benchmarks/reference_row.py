"""Row reference: tokens per second against the reference loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.decoding import PROMPT, ensemble
from benchmarks.reference import ReferenceLoop
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.memory import free_memory
from deepen_llm.vocabulary import shared_anchors

_POSITIONS = 4  # of the text at which the reference loop is timed

_ASSUMED = 4 * 10**9  # free bytes if unknown


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure the reference loop at evenly spaced positions of the text, in turn with our decoding."""
    tokens, pairs, prompt = setting.sizes.reference_tokens, setting.pairs(), setting.prompt(PROMPT)
    llm = ensemble(pairs)
    all_anchors = shared_anchors([LocalMember(*pair).vocabulary for pair in pairs])
    anchors = _fitting(all_anchors, sum(model.config.vocab_size for model, _ in pairs))
    on_progress(f"dense matrices over {anchors.shape[1]:,} anchors")
    loop = ReferenceLoop(pairs, anchors)
    positions = [round((position + 0.5) * tokens / _POSITIONS) for position in range(_POSITIONS)]
    texts = {position: setting.prompt(PROMPT + position) for position in positions}
    loop.next_logits(texts[positions[0]])
    sides: dict[str, Callable[[], float]] = {
        f"reference at {position}": partial(seconds, partial(loop.next_logits, text))
        for position, text in texts.items()
    }
    sides["ours"] = lambda: seconds(lambda: llm.generate(prompt, max_new_tokens=tokens)) / tokens
    took = in_turn(sides, 1, on_progress)
    steps = [took[f"reference at {position}"][0] for position in positions]
    mean, ours = sum(steps) / len(steps), took["ours"][0]
    note = (
        f"{1 / ours:.1f} against {1 / mean:.2f} tokens/s, theirs from steps at {', '.join(map(str, positions))} of "
        f"{tokens} tokens, with {anchors.shape[1]:,} of {all_anchors.shape[1]:,} anchors"
    )
    if anchors.shape[1] < all_anchors.shape[1]:
        note += " (more exceed half of the free memory; fewer favor the reference)"
    yield RowResult("reference", Ratio(mean / ours, min(steps) / ours, max(steps) / ours), note, took)


def _fitting(anchors: Tensor, rows: int) -> Tensor:
    """Select evenly spaced anchors ``[N, A]``, as many as dense fp32 matrices of this many rows fit in memory."""
    most = max(64, (free_memory(torch.device("cpu")) or _ASSUMED) // 2 // (4 * rows))
    count = anchors.shape[1]
    return anchors[:, torch.linspace(0, count - 1, min(count, most)).long()]
