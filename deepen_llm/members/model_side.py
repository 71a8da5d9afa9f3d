"""The model side of a member: what runs the model, in this process or elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.members.context import Context
from deepen_llm.members.text.encoding import Prompt


class ModelSide(ABC):
    """What gives a member's next-token distributions.

    Attributes:
        device: Where its logits come from, which is where they are fused for a main model.
        context_length: Tokens that fit; None where the model knows no bound.
        weight_bytes: Bytes of its weights on this machine: about what a one-token forward reads.
        bytes_per_token: Bytes that a context keeps for each token on ``device``; 0 where that is not known.
        embedding: Input token embeddings, ``[V_i, D_i]``; None where there are none that can be read as numbers.
        missing_embedding: Why there are none, to follow "the token embeddings of member X".
    """

    device: torch.device
    context_length: int | None
    weight_bytes: int = 1
    bytes_per_token: int = 0
    embedding: Tensor | None = None
    missing_embedding: str = "are not in this process"

    @abstractmethod
    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        """Begin to read: a context with one sequence for each prompt.

        Args:
            prompts: The prompts.
            back: For how many tokens before each boundary logits are given, too (see `Reading`).
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
