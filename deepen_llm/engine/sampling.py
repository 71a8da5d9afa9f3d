"""Sampling: chooses tokens from logits, with the logits processors of `transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.members.local.processors import repetition, warper

_GREEDY = 1e-5  # temperatures below it would overflow


class Sampling(NamedTuple):
    """The options that say how a token is chosen; sequences that agree in them are sampled together.

    Attributes:
        temperature: See `GenerationOptions`.
        top_p: See `GenerationOptions`.
        top_k: See `GenerationOptions`.
        min_p: See `GenerationOptions`.
        repetition_penalty: See `GenerationOptions`.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float

    @classmethod
    def of(cls, options: GenerationOptions) -> Self:
        """The sampling options among generation options."""
        return cls(options.temperature, options.top_p, options.top_k, options.min_p, options.repetition_penalty)


class Sampler:
    """Chooses tokens; the options apply in the order in which `transformers` applies them.

    Args:
        sampling: How tokens are chosen.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._greedy = sampling.temperature < _GREEDY
        penalty = sampling.repetition_penalty
        self._penalty = None if penalty == 1 else repetition(penalty)
        self._warp = warper(
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )

    def choose(self, logits: Tensor, ids: Sequence[Sequence[int]], generators: Sequence[torch.Generator]) -> list[int]:
        """Choose one token for each sequence.

        Args:
            logits: Fused logits, ``[B, V_m]``.
            ids: The main model's ids of each sequence, for the repetition penalty.
            generators: A source of randomness for each sequence, on the CPU, so that a sequence's tokens do not depend
                on the others.
        """
        if self._penalty:
            penalized = [
                self._penalty(torch.tensor([seen], device=of_sequence.device), of_sequence[None].clone())
                for seen, of_sequence in zip(ids, logits, strict=True)
            ]
            logits = torch.cat(penalized)
        if self._greedy:
            return list(logits.argmax(-1).tolist())
        p = self._warp(torch.empty(len(logits), 0, dtype=torch.long), logits).softmax(-1).cpu()
        return [
            int(torch.multinomial(of_sequence, 1, generator=generator))
            for of_sequence, generator in zip(p, generators, strict=True)
        ]


def choose_by_group(
    samplings: Sequence[Sampling],
    logits: Tensor,
    ids: Sequence[Sequence[int]],
    generators: Sequence[torch.Generator],
) -> list[int]:
    """`Sampler.choose` for sequences that may differ in their options: those that agree are sampled together.

    Args:
        samplings: For each sequence, how its token is chosen.
        logits: See `Sampler.choose`.
        ids: See `Sampler.choose`.
        generators: See `Sampler.choose`.
    """
    groups: dict[Sampling, list[int]] = {}
    for index, sampling in enumerate(samplings):
        groups.setdefault(sampling, []).append(index)
    chosen = [0] * len(samplings)
    for sampling, group in groups.items():
        tokens = _sampler(sampling).choose(
            logits if len(groups) == 1 else logits[group],
            [ids[index] for index in group],
            [generators[index] for index in group],
        )
        for index, token in zip(group, tokens, strict=True):
            chosen[index] = token
    return chosen


@lru_cache(maxsize=64)
def _sampler(sampling: Sampling) -> Sampler:
    return Sampler(sampling)


def generators(options: GenerationOptions) -> list[torch.Generator]:
    """A source of randomness for each of one prompt's samples."""
    of_samples = [torch.Generator() for _ in range(options.n)]
    for sample, generator in enumerate(of_samples):
        if options.seed is None:
            generator.seed()
        else:
            generator.manual_seed(options.seed + sample)
    return of_samples
