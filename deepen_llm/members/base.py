"""The seam: one model that takes part in an ensemble.

A member is a text side (`TextSide`: tokenizer, chat template, tools) and a model side (`ModelSide`: next-token logits).
Members that run elsewhere share the first, as `TokenizerText`, and write the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.members.config import MemberConfig
from deepen_llm.members.context import Context, Reading
from deepen_llm.members.model_side import ModelSide
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.members.text.side import Message, TextSide

_LOGITS_AT_ONCE = 2**24  # of a prompt: 64 MiB
_TOKENS_AT_ONCE = 512


class Member(TextSide, ModelSide):
    """One model that takes part in an ensemble.

    Attributes:
        source: Where it was loaded from; None for one that lives in memory.
    """

    source: MemberConfig | None = None

    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """See `ModelSide`; here, a context reads each prompt in parts that fit into memory."""
        return [self._own_logprobs(list(prompt.ids)) for prompt in prompts]

    def _own_logprobs(self, ids: list[int]) -> Tensor:
        most = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // self.vocabulary.size))
        context, read, found = self.open([Prompt(tuple(ids[:1]), 1, "", ("",))]), 1, [torch.empty(0)]
        try:
            while read < len(ids):
                (places,) = context.boundaries([ids[read : min(read + most, len(ids)) - 1]])
                following = ids[read : read + len(places)]
                logits = context.read([following[:-1]]).logits  # [following, V]
                context.check()
                targets = torch.tensor(following, device=logits.device)[:, None]
                found.append(logits.log_softmax(-1).gather(1, targets)[:, 0].cpu())
                context.append([following])
                read += len(following)
        finally:
            context.close()
        return torch.cat(found)


__all__ = ["Context", "Member", "Message", "ModelSide", "Reading", "TextSide"]
