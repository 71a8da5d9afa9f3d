"""The setting of a run: sizes, and members that are made at first use."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerBase

from benchmarks.floor import Pair
from benchmarks.models import PRESETS, build
from benchmarks.script import Tables, follow, scripts
from benchmarks.text import Language
from benchmarks.tokenizers import default_cache, tokenizer_of
from deepen_llm import __version__

DISAGREEMENT = 0.10
"""Share of positions where the main model would choose another token than the ensemble."""

OnProgress = Callable[[str], None]
"""A callback with the current activity."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
        words: Words of the language.
        tokens: Tokens to decode with one sequence.
        batch: Sequences of a batch.
        batch_tokens: Tokens to decode in each of them.
        reference_tokens: Length of the text that the reference loop is measured on.
        contexts: Tokens of context; the row compares the first and the last.
        context_tokens: Tokens to decode after each context.
        rows: Values of ``max_rows``, for the plot.
        repeats: Repetitions of each measurement.
        warm: Fused steps before the first measurement.
        vocabularies: Two vocabulary sizes for memory and start-up, and the width of the embeddings.
    """

    words: int = 300_000
    tokens: int = 256
    batch: int = 16
    batch_tokens: int = 48
    reference_tokens: int = 512
    contexts: tuple[int, ...] = (100, 500, 1000, 2000)
    context_tokens: int = 24
    rows: tuple[int, ...] = (32, 96, 256, 1024)
    repeats: int = 2
    warm: int = 300
    vocabularies: tuple[int, int, int] = (131_072, 199_999, 768)


QUICK = Sizes(
    words=6_000,
    tokens=24,
    batch=4,
    batch_tokens=8,
    reference_tokens=48,
    contexts=(20, 60),
    context_tokens=8,
    rows=(16, 64),
    repeats=1,
    warm=10,
    vocabularies=(3_000, 4_500, 32),
)


class BenchmarkSetting:
    """The members and texts of one run.

    Args:
        shape: A name in `PRESETS`.
        sizes: The sizes of the measurements.
        device: The device of the members.
        cache: The folder of tokenizers.
    """

    def __init__(self, shape: str, sizes: Sizes, device: torch.device, cache: Path | None = None) -> None:
        self.shape = shape
        self.sizes = sizes
        self.device = device
        self.cache = cache or default_cache()
        self.shapes = PRESETS[shape]
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.language = Language(sizes.words)
        self._models: dict[int, Pair] = {}

    @cached_property
    def text(self) -> str:
        """The text of single sequences, long enough for every row of the table."""
        longest = max(self.sizes.contexts[-1] + self.sizes.context_tokens, self.sizes.tokens + 64)
        return self.language.text(longest + 200, seed=1)

    def tokenizer(self, vocabulary: int) -> PreTrainedTokenizerBase:
        """Return the tokenizer of this size."""
        return tokenizer_of(vocabulary, self.language, self.cache)

    def pairs(self, count: int = 2, texts: Sequence[str] | None = None) -> list[Pair]:
        """Make the first members, which follow the setting's text or others, the main model first."""
        for index, shape in enumerate(self.shapes[:count]):
            if index not in self._models:
                model = build(shape, device=self.device, dtype=self.dtype, seed=index)
                self._models[index] = model, self.tokenizer(shape.vocabulary)
        pairs = [self._models[index] for index in range(count)]
        for (model, _), script in zip(pairs, self.scripts(count, texts), strict=True):
            follow(model, script)
        return pairs

    def scripts(self, count: int = 2, texts: Sequence[str] | None = None) -> list[Tables]:
        """The scripts that the first members follow."""
        tokenizers = [self.tokenizer(shape.vocabulary) for shape in self.shapes[:count]]
        return scripts(tokenizers, texts or [self.text], disagreement=DISAGREEMENT)

    def prompt(self, tokens: int, text: str | None = None) -> str:
        """Cut the text after about this many main-model tokens, at the end of a word."""
        text = text or self.text
        tokenizer = self.tokenizer(self.shapes[0].vocabulary)
        spans = tokenizer(text, return_offsets_mapping=True).offset_mapping
        ends = (end for _, end in spans[tokens - 1 :] if text[end : end + 1] == " ")
        return text[: next(ends)]

    def texts(self, rows: int, tokens: int) -> list[str]:
        """Make texts for a batch; each begins with a different token in every member.

        They begin with a space and a lower-case letter, since tokenizers have such words as tokens.
        """
        tokenizers = [self.tokenizer(shape.vocabulary) for shape in self.shapes[:2]]
        found: dict[str, tuple[int, ...]] = {}
        for seed in range(100, 100 + 50 * rows):
            written = self.language.text(2 * tokens + 100, seed)
            text = f" {written[0].lower()}{written[1:]}"
            firsts = tuple(tokenizer(text[:50]).input_ids[0] for tokenizer in tokenizers)
            if all(a != b for other in found.values() for a, b in zip(firsts, other, strict=True)):
                found[text] = firsts
            if len(found) == rows:
                return list(found)
        raise ValueError(f"only {len(found)} of {rows} texts begin with tokens of their own")

    def describe(self) -> dict[str, Any]:
        """Describe the run."""
        options = {"shape": self.shape, **dataclasses.asdict(self.sizes)}
        return {**circumstances(self.device), "options": options, "members": [str(one) for one in self.shapes[:2]]}


def circumstances(device: torch.device) -> dict[str, Any]:
    """Describe the time, the machine and the packages of the run."""
    versions = {
        "deepen-llm": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(device), "versions": versions}


def machine(device: torch.device) -> str:
    """Describe the processor, its threads, and the GPU if one is used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{name}, {torch.get_num_threads()} threads{gpu}"
