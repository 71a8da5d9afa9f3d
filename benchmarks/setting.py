"""What all rows share: how large everything is, and the members, made once and when they are first needed."""

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

Tell = Callable[[str], None]
"""Is told what goes on."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        words: Of the language.
        tokens: Decoded for rows of batch 1.
        batch: Rows of a batch.
        batch_tokens: Decoded in each of them.
        reference_tokens: Length of the text that the reference loop is measured over.
        contexts: Tokens of context; the first and the last make the row.
        context_tokens: Decoded after each.
        rows: Values of ``max_rows``, for the plot.
        repeats: How often everything is measured.
        warm: Fused steps before any is measured.
        vocabularies: Of the rows about memory and start-up, and the width of their embeddings.
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


QUICK = Sizes(6_000, 24, 4, 8, 48, (20, 60), 8, (16, 64), 1, 10, (3_000, 4_500, 32))


class Setting:
    """One run's members and texts.

    Args:
        shape: A name in `PRESETS`.
        sizes: How much is measured.
        device: Where the members are.
        cache: Folder of tokenizers.
    """

    def __init__(self, shape: str, sizes: Sizes, device: torch.device, cache: Path | None = None) -> None:
        self.shape, self.sizes, self.device, self.cache = shape, sizes, device, cache or default_cache()
        self.shapes = PRESETS[shape]
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.language = Language(sizes.words)
        self._models: dict[int, Pair] = {}

    @cached_property
    def text(self) -> str:
        """The text that single rows follow, long enough for every row."""
        longest = max(self.sizes.contexts[-1] + self.sizes.context_tokens, self.sizes.tokens + 64)
        return self.language.text(longest + 200, seed=1)

    def tokenizer(self, vocabulary: int) -> PreTrainedTokenizerBase:
        """The tokenizer of this size."""
        return tokenizer_of(vocabulary, self.language, self.cache)

    def pairs(self, count: int = 2, texts: Sequence[str] | None = None) -> list[Pair]:
        """The first members, following the setting's text or others, the main model first."""
        for place, shape in enumerate(self.shapes[:count]):
            if place not in self._models:
                model = build(shape, device=self.device, dtype=self.dtype, seed=place)
                self._models[place] = model, self.tokenizer(shape.vocabulary)
        pairs = [self._models[place] for place in range(count)]
        for (model, _), script in zip(pairs, self.scripts(count, texts), strict=True):
            follow(model, script)
        return pairs

    def scripts(self, count: int = 2, texts: Sequence[str] | None = None) -> list[Tables]:
        """What the first members follow."""
        tokenizers = [self.tokenizer(shape.vocabulary) for shape in self.shapes[:count]]
        return scripts(tokenizers, texts or [self.text], disagreement=DISAGREEMENT)

    def prompt(self, tokens: int, text: str | None = None) -> str:
        """The text's beginning, of about so many main-model tokens, up to the end of a word."""
        text = text or self.text
        tokenizer = self.tokenizer(self.shapes[0].vocabulary)
        spans = tokenizer(text, return_offsets_mapping=True).offset_mapping
        ends = (end for _, end in spans[tokens - 1 :] if text[end : end + 1] == " ")
        return text[: next(ends)]

    def texts(self, rows: int, tokens: int) -> list[str]:
        """Texts for a batch; each begins with another token in every member.

        They begin with a space and a small letter: so tokenizers have words as tokens, and capital letters otherwise.
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
        """The run's circumstances."""
        options = {"shape": self.shape, **dataclasses.asdict(self.sizes)}
        return {**circumstances(self.device), "options": options, "members": [str(one) for one in self.shapes[:2]]}


def circumstances(device: torch.device) -> dict[str, Any]:
    """When, where and with what is measured."""
    versions = {
        "deepen-llm": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(device), "versions": versions}


def machine(device: torch.device) -> str:
    """The processor, its threads, and the GPU if one is used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{name}, {torch.get_num_threads()} threads{gpu}"
