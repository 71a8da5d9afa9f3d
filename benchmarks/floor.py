"""The floor: greedy ``generate`` of each member, one after the other, without an ensemble."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


class Floor:
    """Members that decode the same prompts separately.

    Args:
        pairs: Models with their tokenizers.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = list(pairs)

    def generate(self, prompts: Sequence[str], tokens: int) -> None:
        """Continue all prompts by an exact number of tokens with each member in turn."""
        for model, tokenizer in self._pairs:
            _generate(model, tokenizer, prompts, tokens)

    def seconds_per_token(self, prompt: str, tokens: int) -> float:
        """Compute the time of a token after the first, summed over members, that is, without prompts."""
        total = 0.0
        for model, tokenizer in self._pairs:
            clock = _Clock()
            _generate(model, tokenizer, [prompt], tokens, streamer=clock)
            total += (clock.times[-1] - clock.times[1]) / (len(clock.times) - 2)  # the prompt itself comes first
        return total


class _Clock:
    """A ``transformers`` streamer that records the time of each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: object) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], tokens: int, **options: Any
) -> None:
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
    given = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        model.generate(**given, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, **options)
