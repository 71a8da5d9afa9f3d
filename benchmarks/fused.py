"""Rows fused-*: the fused step alone, relative to the members' one-token forwards in the same run.

Each step has new distributions: *peaked* as in the members' scripts along the text, *broad* with their mass on a
thousand tokens, *flat* as in untrained models. Between two measured steps the members compute a token, so that
processor caches are in the same state as in decoding.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio, seconds
from deepen_llm.fusion import Bayes, Deepen, FusionMethod, Surface
from deepen_llm.fusion.past import Past, Trail

KINDS = ("peaked", "broad", "flat")
_WARM_UP = 15.0  # seconds
_MEASURED, _FLAT = 24, 6  # steps
_BROAD, _NOISE = 1000, 0.55  # tokens of broad distributions; spread of random logits, in nats


class Distributions:
    """A generator of next-token logits of two members.

    Args:
        setting: The members and the text.
        kind: One of `KINDS`.
        seed: The seed of the logits.
    """

    def __init__(self, setting: BenchmarkSetting, kind: str, seed: int = 0) -> None:
        self._kind, self._device = kind, setting.device
        self._scripts = [script.to(setting.device) for script in setting.scripts()]
        self._generator = torch.Generator(setting.device).manual_seed(seed)
        self._places = _places(setting)
        self._step = 0

    def draw(self) -> list[Tensor]:
        """Draw the next logits, ``[1, V_i]`` each."""
        self._step = (self._step + 1) % len(self._places)
        return [self._draw(member) for member in range(len(self._scripts))]

    def _draw(self, member: int) -> Tensor:
        script = self._scripts[member]
        logits = torch.randn(1, 1, len(script.tail), generator=self._generator, device=self._device)
        if self._kind == "flat":
            return _NOISE * logits[0]
        if self._kind == "peaked":
            place = torch.tensor([[self._places[self._step][member]]], device=self._device)
            script.add(logits.mul_(0.1), torch.zeros_like(place), place)
            return logits[0]
        known = script.tail.exp().multinomial(_BROAD, generator=self._generator)
        logits[0, 0, known] += 6.0 + script.tail[known] / 4
        return logits[0]


def _places(setting: BenchmarkSetting) -> list[tuple[int, int]]:
    """For each main-model token of the text, the position of both members in their own tokens."""
    main, other = (
        [end for _, end in tokenizer(setting.text, return_offsets_mapping=True).offset_mapping]
        for _, tokenizer in setting.pairs()
    )
    there, found = 0, []
    for place, end in enumerate(main[:-1]):
        while there + 1 < len(other) and other[there + 1] <= end:
            there += 1
        found.append((place, there))
    return found


def _joined(before: Iterable[Trail]) -> Trail:
    """Concatenate the past of single tokens, with the norms computed when they were read."""
    trails = list(before)
    return Trail(
        [token for one in trails for token in one.tokens],
        [part for one in trails for part in one.logits],
        [norm for one in trails for norm in one.norms],
    )


class Step:
    """The fused step of one method, and the one-token forwards around it."""

    def __init__(self, setting: BenchmarkSetting, method: FusionMethod) -> None:
        self._pairs = setting.pairs()
        self._fusion = EnsembleLLM(self._pairs, fusion=method).ensemble.fusion
        self._weights = torch.full((1, len(self._pairs)), 1 / len(self._pairs))
        self._before = [deque[Trail](maxlen=max(1, self._fusion.back)) for _ in self._pairs]

    def fuse(self, logits: list[Tensor]) -> Tensor:
        """Run the step after the previous ones."""
        past = Past([[_joined(before)] for before in self._before], [b""]) if self._fusion.back else None
        return self._fusion.fuse(logits, self._weights, past)

    def remember(self, logits: list[Tensor]) -> None:
        """Record logits as the past of the next step, and their likeliest tokens as read."""
        for before, one in zip(self._before, logits, strict=True):
            before.appendleft(Trail.of([int(one.argmax())], [one[0]]))

    def warm(self, distributions: Distributions, steps: int) -> int:
        """Run fused steps as in decoding before the measurement; return their number."""
        until = time.perf_counter() + _WARM_UP
        for step in range(steps):
            self.fuse(distributions.draw())
            if time.perf_counter() > until:
                return step + 1
        return steps

    def measure(self, distributions: Distributions, steps: int) -> tuple[list[float], list[float]]:
        """Measure the seconds of the fused step, and of the members' forwards before it."""
        fused, forwards = [], []
        for _ in range(steps):
            forwards.append(seconds(self._forward))
            logits = distributions.draw()
            fused.append(seconds(partial(self.fuse, logits)))
            self.remember(logits)
        return fused, forwards

    @torch.inference_mode()
    def _forward(self) -> None:
        for model, _ in self._pairs:
            model(input_ids=torch.tensor([[1]], device=model.device), use_cache=True)


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure all methods on every kind of distributions; then over K, for the plot."""
    for suffix, method in (("", Deepen()), ("-bayes", Bayes()), ("-surface", Surface())):
        on_progress(f"{method.method}: building")
        step = Step(setting, method)
        for kind in KINDS:
            on_progress(f"{method.method}, {kind} distributions")
            distributions = Distributions(setting, kind)
            warm = step.warm(distributions, setting.sizes.warm if kind == "peaked" else 2)
            fused, forwards = step.measure(distributions, _MEASURED if kind == "peaked" else _FLAT)
            base = statistics.median(forwards)
            curve = _over_rows(setting, on_progress) if kind == "flat" and not suffix else None
            raw = {"fused": fused, "forwards": forwards, "warm": warm, **({"curve": curve} if curve else {})}
            note = f"{1e3 * statistics.median(fused):.1f} ms beside {1e3 * base:.1f} ms, after {warm} steps"
            yield RowResult(f"fused-{kind}{suffix}", Ratio.of([one / base for one in fused]), note, raw)


def _over_rows(setting: BenchmarkSetting, on_progress: OnProgress) -> dict[str, list[float]]:
    """Measure the time of the fused step over K, for both extremes, and that of the forwards."""
    curve: dict[str, list[float]] = {"x": [], "peaked": [], "flat": [], "floor": []}
    for rows in setting.sizes.rows:
        on_progress(f"K = {rows}")
        step = Step(setting, Deepen(max_rows=rows))
        curve["x"].append(rows)
        for kind in ("peaked", "flat"):
            distributions = Distributions(setting, kind)
            step.warm(distributions, setting.sizes.warm // 10 if kind == "peaked" else 1)
            fused, forwards = step.measure(distributions, _FLAT // 2)
            curve[kind].append(statistics.median(fused))
        curve["floor"].append(statistics.median(forwards))
    return curve
