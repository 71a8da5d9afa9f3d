"""What members cost by themselves: their own generation, and their one-token forwards, the floor of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deepen_llm.diagnostics.timing import seconds
from deepen_llm.errors import ConfigError
from deepen_llm.members.base import Context, Member
from deepen_llm.members.local.member import LocalMember


@torch.inference_mode()
def generate_alone(member: LocalMember, prompt: str, tokens: int) -> int:
    """Let a member continue a prompt by the greedy ``generate`` of `transformers`, past every end of text.

    Args:
        member: The member.
        prompt: The prompt.
        tokens: How many tokens.

    Returns:
        How many there are, which a context window may have bounded.
    """
    ids = torch.tensor([list(member.encode_prompt(prompt).ids)], device=member.model.device)  # [1, T]
    tokens = _room(member, ids.shape[1], tokens)
    made = member.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=1,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
    )
    return int(made.shape[1] - ids.shape[1])


def forward_seconds(members: Sequence[Member], prompt: str, tokens: int) -> float:
    """The floor: seconds of every member's one-token forward, one after the other, means over a greedy continuation.

    Args:
        members: The members.
        prompt: The text that each reads first, untimed.
        tokens: One-token forwards of each member.
    """
    return sum(_forward_seconds(member, prompt, tokens) for member in members)


def _forward_seconds(member: Member, prompt: str, tokens: int) -> float:
    encoded = member.encode_prompt(prompt)
    tokens = _room(member, len(encoded.ids), tokens)
    context = member.open([encoded])
    try:
        taken = 0.0
        for _ in range(tokens):
            context.append([[int(context.logits().argmax())]])
            taken += seconds(lambda: _read(context))
        return taken / tokens
    finally:
        context.close()


def _read(context: Context) -> None:
    context.read([()])
    context.check()


def _room(member: Member, prompt: int, tokens: int) -> int:
    """How many tokens fit behind a prompt."""
    room = tokens if member.context_length is None else min(tokens, member.context_length - prompt - 1)
    if room < 1:
        raise ConfigError(
            f"the prompt's {prompt} tokens leave no room in the context window of {member.name} "
            f"({member.context_length})",
            hint="give a shorter prompt",
        )
    return room
