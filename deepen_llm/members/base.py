"""`Member`: the abstract class of a model that takes part in an ensemble.

A member has a text side (`TextSide`: tokenizer, chat template, tools) and a model side (`ModelSide`: next-token
logits). A new kind of member takes the text side from `TokenizerText`, and implements the model side.
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

_LOGITS_AT_ONCE = 2**24  # of a prompt that is scored: 64 MiB
_TOKENS_AT_ONCE = 512  # of such a prompt


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
        context = self.open([Prompt(ids=tuple(ids[:1]), fixed=1, tail="", leads=("",))])
        read, logprobs = 1, [torch.empty(0)]
        try:
            while read < len(ids):
                (boundaries,) = context.boundaries([ids[read : min(read + most, len(ids)) - 1]])
                following = ids[read : read + len(boundaries)]
                logits = context.read([following[:-1]]).logits  # [following, V]
                context.check()
                targets = torch.tensor(following, device=logits.device)[:, None]
                logprobs.append(logits.log_softmax(-1).gather(1, targets)[:, 0].cpu())
                context.append([following])
                read += len(following)
        finally:
            context.close()
        return torch.cat(logprobs)


__all__ = ["Context", "Member", "Message", "ModelSide", "Reading", "TextSide"]
