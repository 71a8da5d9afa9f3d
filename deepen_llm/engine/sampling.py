"""From fused logits to a token, with the field's own logits processors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.members.local.processors import repetition, warper

_GREEDY = 1e-5  # temperatures below it would overflow


class Sampler:
    """Chooses tokens as the options say; in the order that `transformers` applies them.

    Args:
        options: The generation options.
    """

    def __init__(self, options: GenerationOptions) -> None:
        self._greedy = options.temperature < _GREEDY
        penalty = options.repetition_penalty
        self._penalty = None if penalty == 1 else repetition(penalty)
        self._warp = warper(
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
        )

    def choose(self, logits: Tensor, ids: Sequence[Sequence[int]], generators: Sequence[torch.Generator]) -> list[int]:
        """Choose one token per row.

        Args:
            logits: Fused logits, ``[B, V_m]``.
            ids: The main model's ids so far, for the repetition penalty.
            generators: A source of randomness for each row, on the CPU, so that a row's draw does not depend on its
                neighbours.
        """
        if self._penalty:
            rows = zip(ids, logits, strict=True)
            logits = torch.cat(
                [self._penalty(torch.tensor([seen], device=row.device), row[None].clone()) for seen, row in rows]
            )
        if self._greedy:
            return list(logits.argmax(-1).tolist())
        p = self._warp(torch.empty(len(logits), 0, dtype=torch.long), logits).softmax(-1).cpu()
        return [
            int(torch.multinomial(row, 1, generator=generator)) for row, generator in zip(p, generators, strict=True)
        ]


def generators(options: GenerationOptions) -> list[torch.Generator]:
    """A source of randomness for each of one prompt's samples."""
    made = [torch.Generator() for _ in range(options.n)]
    for sample, generator in enumerate(made):
        if options.seed is None:
            generator.seed()
        else:
            generator.manual_seed(options.seed + sample)
    return made
