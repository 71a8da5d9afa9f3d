"""Logits processors of `transformers` that sampling applies, in the order that `transformers` applies them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

Processor = Callable[[Tensor, Tensor], Tensor]
"""Takes token ids so far, ``[B, T]``, and logits, ``[B, V]``; gives logits, ``[B, V]``."""


def warper(*, temperature: float, top_k: int, top_p: float, min_p: float) -> Processor:
    """What sampling does to logits; options that change nothing are left out.

    Args:
        temperature: Divides the logits.
        top_k: The most tokens to sample from; 0 for all.
        top_p: The likeliest tokens with this probability together.
        min_p: The least share of the likeliest token's probability.
    """
    processors = LogitsProcessorList()
    if temperature not in {0, 1}:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    if min_p:
        processors.append(MinPLogitsWarper(min_p))
    made: Processor = processors
    return made


def repetition(penalty: float) -> Processor:
    """Makes tokens of prompt and answer less likely.

    Args:
        penalty: Above 1: less repetition.
    """
    made: Processor = RepetitionPenaltyLogitsProcessor(penalty)
    return made
