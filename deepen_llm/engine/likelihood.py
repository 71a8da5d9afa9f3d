"""The log-likelihood of prompts under each member, and the aggregation weights computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.fusion import Likelihood
from deepen_llm.members.base import Member
from deepen_llm.members.text.encoding import Prompt


def prompt_weights(ensemble: Ensemble, columns: Sequence[Sequence[Prompt]]) -> Tensor:
    """The state of the aggregation weights before an answer to each prompt, ``[B, N]``.

    See `AggregationWeights.per_prompt`.

    Args:
        ensemble: The ensemble.
        columns: For each member, the prompts as it encodes them.

    Raises:
        LogitsError: See `Member.prompt_logprobs`.
    """
    weights, members = ensemble.weights, ensemble.members
    if not columns[0]:
        return torch.empty(0, len(members))
    if not weights.reads_prompts or len(members) == 1:
        return weights.per_prompt([[Likelihood()] * len(members)] * len(columns[0]))
    by_member = [likelihoods(member, column, weights.memory) for member, column in zip(members, columns, strict=True)]
    return weights.per_prompt(list(zip(*by_member, strict=True)))


def likelihoods(member: Member, prompts: Sequence[Prompt], memory: float = math.inf) -> list[Likelihood]:
    """The likelihood of each prompt under a member; special tokens are not counted.

    Args:
        member: The member.
        prompts: The prompts, as it encodes them.
        memory: See `AggregationWeights.memory`.

    Raises:
        LogitsError: See `Member.prompt_logprobs`.
    """
    return [
        _counted(member, prompt, logprobs, memory)
        for prompt, logprobs in zip(prompts, member.prompt_logprobs(prompts), strict=True)
    ]


def _counted(member: Member, prompt: Prompt, logprobs: Tensor, memory: float) -> Likelihood:
    surfaces = [member.vocabulary.surfaces[id_] for id_ in prompt.ids[1:]]
    counted = [index for index, surface in enumerate(surfaces) if surface is not None]
    sizes = torch.tensor([len(surfaces[index] or b"") for index in counted], dtype=torch.float64)
    to_end = sizes.flip(0).cumsum(0).flip(0)  # bytes from the beginning of each token to the end of the prompt
    logprob = float((logprobs[counted].double() * (-to_end / memory).exp()).sum())
    return Likelihood(logprob, len(counted), int(sizes.sum()))
