"""The model side of a member, whose model runs in this process or elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.members.context import Context
from deepen_llm.members.text.encoding import Prompt


class ModelSide(ABC):
    """The part of a member that gives next-token logits.

    Attributes:
        device: The device of its logits; the main model's is where distributions are fused.
        context_length: Length of the context window in tokens; None where the model has no bound.
        weight_bytes: Bytes of its weights on this machine: about what a one-token forward reads.
        bytes_per_token: Bytes that a context keeps for each token on ``device``; 0 where that is not known.
        embedding: Input token embeddings, ``[V_i, D_i]``; None where they cannot be read as numbers.
        missing_embedding: Why there are none, as words that follow "the token embeddings of member X".
    """

    device: torch.device
    context_length: int | None
    weight_bytes: int = 1
    bytes_per_token: int = 0
    embedding: Tensor | None = None
    missing_embedding: str = "are not in this process"

    @abstractmethod
    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        """Open a context with one sequence for each prompt.

        Args:
            prompts: The prompts.
            back: How many tokens before each boundary have logits in a `Reading`, too.
        """

    @abstractmethod
    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """Log-probabilities of prompts' own tokens, each after those before it.

        Args:
            prompts: The prompts; each is read alone, so that none depends on the others.

        Returns:
            For each, fp32 ``[tokens - 1]`` on the CPU: the first token has nothing before it.

        Raises:
            LogitsError: Logits are NaN, ``+inf`` or all ``-inf``.
        """
