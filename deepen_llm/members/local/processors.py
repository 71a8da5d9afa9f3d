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
"""A function of the token ids so far ``[B, T]`` and logits ``[B, V]`` that returns logits ``[B, V]``."""


def warper(*, temperature: float, top_k: int, top_p: float, min_p: float) -> Processor:
    """The processor of the sampling options; those that change nothing are left out.

    Args:
        temperature: Divides the logits.
        top_k: The most tokens to sample from; 0 for all.
        top_p: Sample from the likeliest tokens that together have this probability.
        min_p: Sample from tokens with at least this share of the likeliest token's probability.
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
    processor: Processor = processors
    return processor


def repetition(penalty: float) -> Processor:
    """The processor that makes tokens of prompt and answer less likely.

    Args:
        penalty: Above 1: less repetition.
    """
    processor: Processor = RepetitionPenaltyLogitsProcessor(penalty)
    return processor
