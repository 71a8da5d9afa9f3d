"""Row context: time of a token after a long text, relative to the floor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.decoding import ensemble, per_token
from benchmarks.floor import Floor
from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm.diagnostics.timing import Ratio, in_turn


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure all lengths in turn, for the ensemble and the floor."""
    sizes, pairs = setting.sizes, setting.pairs()
    llm, floor = ensemble(pairs), Floor(pairs)
    sides: dict[str, Callable[[], float]] = {}
    for length in sizes.contexts:
        prompt = setting.prompt(length)
        sides[f"ours {length}"] = partial(per_token, llm, prompt, sizes.context_tokens)
        sides[f"floor {length}"] = partial(floor.seconds_per_token, prompt, sizes.context_tokens)
    per_token(llm, setting.prompt(sizes.contexts[0]), sizes.context_tokens)
    took = in_turn(sides, min(2, sizes.repeats), on_progress)
    short, long = sizes.contexts[0], sizes.contexts[-1]
    growth = {
        side: [after / before for before, after in zip(took[f"{side} {short}"], took[f"{side} {long}"], strict=True)]
        for side in ("ours", "floor")
    }
    ours, theirs = (statistics.median(growth[side]) for side in ("ours", "floor"))
    curve = {
        "x": list(sizes.contexts),
        **{side: [statistics.median(took[f"{side} {n}"]) for n in sizes.contexts] for side in ("ours", "floor")},
    }
    note = f"{long:,} tokens of context take {ours:.2f} times the time of {short}; floor {theirs:.2f}"
    yield RowResult("context", Ratio.between(growth["ours"], growth["floor"]), note, {**took, "curve": curve})
