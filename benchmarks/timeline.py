"""A picture of what happens in a few steps: ``python -m benchmarks.timeline --out docs/timeline.png``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch

from benchmarks.setting import QUICK, BenchmarkSetting, Sizes
from deepen_llm import EnsembleLLM
from deepen_llm.engine import engine
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.weighing import Weighing

_STEPS = 4
_WARM = 12  # steps before the ones that are shown
_PROMPT = 32


class Span(NamedTuple):
    """A part of a step.

    Attributes:
        name: What was done.
        began: Seconds after the first step's begin.
        ended: The same.
    """

    name: str
    began: float
    ended: float


def spans(llm: EnsembleLLM, prompt: str) -> list[Span]:
    """What a lone call does in its steps after the first ones, by part."""
    found, names = list[Span](), [f"read member {index + 1}" for index in range(len(llm.members))]
    with ExitStack() as patched:

        def watch(owner: Any, function: str, name: Callable[..., str]) -> None:
            own = getattr(owner, function)

            def watched(*given: Any, **options: Any) -> Any:
                began = time.perf_counter()
                try:
                    return own(*given, **options)
                finally:
                    found.append(Span(name(*given), began, time.perf_counter()))

            patched.enter_context(patch.object(owner, function, watched))

        watch(Contexts, "read", lambda _, member, __: names[member])
        watch(Weighing, "fuse", lambda *_: "fuse")
        watch(engine, "advance", lambda *_: "choose tokens")
        watch(Contexts, "commit", lambda *_: "append, encode again")
        llm.generate(prompt, max_new_tokens=_WARM + _STEPS)
    steps = [i for i, span in enumerate(found) if span.name == "choose tokens"]
    first, last = steps[_WARM - 1] + 2, steps[_WARM + _STEPS - 1]
    zero = found[first].began
    return [Span(span.name, span.began - zero, span.ended - zero) for span in found[first : last + 1]]


def draw(parts: Sequence[Span], file: Path) -> None:
    """Draw spans as bars, one line for each kind.

    Args:
        parts: The spans.
        file: The picture to write.

    Raises:
        ConfigError: matplotlib is missing, or the picture cannot be written.
    """
    from deepen_llm.diagnostics.pictures.style import COLORS, Picture, drawing, label, save

    kinds = list(dict.fromkeys(span.name for span in parts))

    @drawing
    def drawn() -> Picture:
        picture = Picture(9, 0.8 + 0.4 * len(kinds))
        axis = picture.subplots()
        label(axis, f"{_STEPS} steps of a lone call", "milliseconds", "")
        for line, kind in enumerate(kinds):
            bars = [(1e3 * span.began, 1e3 * (span.ended - span.began)) for span in parts if span.name == kind]
            axis.broken_barh(bars, (line - 0.35, 0.7), color=COLORS[line])
        axis.set_yticks(range(len(kinds)), kinds)
        axis.invert_yaxis()
        return picture

    save(drawn(), file)


def main() -> None:
    """Measure on members of a shape, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="100m", help="the members' size")
    parser.add_argument("--out", type=Path, required=True, help="the picture's file")
    given = parser.parse_args()
    sizes = QUICK if given.shape == "tiny" else Sizes()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setting = BenchmarkSetting(given.shape, sizes, device)
    found = spans(EnsembleLLM(setting.pairs()), setting.prompt(_PROMPT))
    draw(found, given.out)
    for name in dict.fromkeys(span.name for span in found):
        took = [1e3 * (span.ended - span.began) for span in found if span.name == name]
        print(f"{name}: {sum(took) / _STEPS:.2f} ms a step")


if __name__ == "__main__":
    main()
