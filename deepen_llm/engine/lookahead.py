"""What the members would read next if the main model's likeliest token followed, and whether they agree with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from deepen_llm.fusion.base import EndOfText
from deepen_llm.members.base import Member

DraftItem = TypeVar("DraftItem")
Added = Callable[[Sequence[Sequence[DraftItem]]], Mapping[int, Sequence[list[int] | None]]]

_NO_TOKEN = -1
_MAJORITY = 0.5


@dataclass(frozen=True)
class LookAhead:
    """What follows at P boundaries if the main model's likeliest token is the next.

    Attributes:
        tokens: That token, ``[P]``.
        added: By member, the main model excepted, at each boundary: the tokens that it then reads after those of the
            text; None where its tokenizer would merge the token with those before it.
    """

    tokens: Sequence[int]
    added: Mapping[int, list[list[int] | None]]

    def at(self, positions: Sequence[int]) -> LookAhead:
        """The same for the boundaries at these positions, in this order."""
        added = {i: [of_member[position] for position in positions] for i, of_member in self.added.items()}
        return LookAhead([self.tokens[position] for position in positions], added)

    def merging(self, position: int) -> int | None:
        """The first member that would merge the token into those before it; None where none would."""
        return next((i for i, added in self.added.items() if added[position] is None), None)


class GateState(NamedTuple):
    """Which of P boundaries the gate closes before fusion; the gate ``safe`` may close more of them then.

    Attributes:
        closed: For each, why the main model's distribution is taken; "" where it is fused.
        ahead: What follows if the main model's likeliest token is the next; None where the gate does not need it.
    """

    closed: list[str]
    ahead: LookAhead | None

    def at(self, positions: Sequence[int]) -> GateState:
        """The same for the boundaries at these positions, in this order."""
        return GateState([self.closed[position] for position in positions], self.ahead and self.ahead.at(positions))


def look_ahead(
    tokens: Sequence[int],
    drafts: Sequence[Sequence[DraftItem]],
    following: Sequence[Sequence[DraftItem]],
    added: Added[DraftItem],
) -> LookAhead:
    """What the members would read next at all boundaries of drafts.

    Args:
        tokens: The main model's likeliest token at all boundaries of all drafts, ``[P]``.
        drafts: For each sequence, what may come next.
        following: For each sequence, that token at each boundary of its draft.
        added: Returns `Context.added` of drafts by member, the main model excepted.
    """
    by_member: dict[int, list[list[list[int] | None]]] = {}
    for depth in range(max(map(len, following), default=0)):
        extended = [[*draft[:depth], *items[depth : depth + 1]] for draft, items in zip(drafts, following, strict=True)]
        for i, ids_of_sequences in added(extended).items():
            sequences = by_member.setdefault(i, [[] for _ in following])
            for sequence, ids, items in zip(sequences, ids_of_sequences, following, strict=True):
                sequence += [ids] * (depth < len(items))
    return LookAhead(tokens, {i: list(chain.from_iterable(sequences)) for i, sequences in by_member.items()})


def agreeing(
    members: Sequence[Member], main: int, ahead: LookAhead, logits: Sequence[Tensor], weights: Tensor
) -> list[bool]:
    """Whether the members agree on what comes next, at each boundary (SAFE, arXiv 2510.15346, section 4).

    A member's next token is the first that it reads if the main model's likeliest token follows. The members agree
    where the next token of every other member is its likeliest one, or where the weighted mean of the members'
    probabilities of their next tokens is above 1/2. Either makes that token the likeliest of the members' mean (the
    paper's theorem 1). All end-of-text tokens count as one. Where the next token is not known, as inside a character,
    its probability counts as 0.

    Args:
        members: All members.
        main: Index of the main model among them.
        ahead: What they would read next.
        logits: Each member's logits, ``[P, V_i]``.
        weights: The aggregation weights in force, ``[P, N]``.
    """
    ends = {position for position, token in enumerate(ahead.tokens) if token in members[main].vocabulary.end_of_text}
    next_ids: dict[int, Sequence[list[int] | None]] = {main: [[token] for token in ahead.tokens], **ahead.added}
    unanimous, mean = torch.ones(len(weights), dtype=torch.bool, device=weights.device), torch.zeros_like(weights[:, 0])
    for i, (member, member_logits) in enumerate(zip(members, logits, strict=True)):
        end_ids = member.vocabulary.end_of_text
        end = [end_ids[0] if end_ids else _NO_TOKEN]
        wanted = [(end if position in ends else ids or [_NO_TOKEN])[0] for position, ids in enumerate(next_ids[i])]
        likeliest, probability = _rated(EndOfText(end_ids).fold(member_logits), wanted)
        unanimous &= likeliest.to(weights.device) | (i == main)
        mean += weights[:, i] * probability.to(weights.device)
    agreed: list[bool] = (unanimous | (mean > _MAJORITY)).tolist()
    return agreed


def _rated(logits: Tensor, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Whether a token is the likeliest, and its probability, at each boundary; -1 is no token, ``[P]`` each."""
    ids = torch.tensor(tokens, device=logits.device)
    chosen = logits.gather(1, ids.clamp(min=0)[:, None])[:, 0]
    probability = (chosen - logits.logsumexp(-1)).exp()
    return logits.argmax(-1) == ids, torch.where(ids == _NO_TOKEN, 0.0, probability)
