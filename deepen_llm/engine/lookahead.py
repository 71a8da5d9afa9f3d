"""What the members would read next if the main model went on as it finds likeliest, and whether they agree with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from deepen_llm.fusion.base import EndOfText
from deepen_llm.members.base import Member

Step = TypeVar("Step")
Added = Callable[[Sequence[Sequence[Step]]], Mapping[int, Sequence[list[int] | None]]]

_NONE = -1
_MAJORITY = 0.5


@dataclass(frozen=True)
class LookAhead:
    """What follows at P places where the main model's most likely token is the next.

    Attributes:
        tokens: That token, ``[P]``.
        added: By member but the main model, at each place: the tokens that it reads then behind those of the text so
            far; None where these do not stay as they are.
    """

    tokens: Sequence[int]
    added: Mapping[int, list[list[int] | None]]

    def at(self, places: Sequence[int]) -> LookAhead:
        """The same for these places, in this order."""
        added = {i: [one[place] for place in places] for i, one in self.added.items()}
        return LookAhead([self.tokens[place] for place in places], added)

    def merging(self, place: int) -> int | None:
        """The first member that would merge the token into those before it; None where nobody would."""
        return next((i for i, added in self.added.items() if added[place] is None), None)


def look_ahead(
    tokens: Sequence[int], drafts: Sequence[Sequence[Step]], following: Sequence[Sequence[Step]], added: Added[Step]
) -> LookAhead:
    """Ask the members how they would go on.

    Args:
        tokens: The main model's most likely token at all boundaries of all drafts, ``[P]``.
        drafts: For each row, steps that may come next.
        following: For each row, the step of that token at each boundary of its draft.
        added: By member but the main model, what `Context.added` tells of drafts.
    """
    found: dict[int, list[list[list[int] | None]]] = {}
    for depth in range(max(map(len, following), default=0)):
        asked = [[*draft[:depth], *row[depth : depth + 1]] for draft, row in zip(drafts, following, strict=True)]
        for i, answers in added(asked).items():
            rows = found.setdefault(i, [[] for _ in following])
            for row, answer, steps in zip(rows, answers, following, strict=True):
                row += [answer] * (depth < len(steps))
    return LookAhead(tokens, {i: [one for row in rows for one in row] for i, rows in found.items()})


def agreeing(
    members: Sequence[Member], main: int, ahead: LookAhead, logits: Sequence[Tensor], weights: Tensor
) -> list[bool]:
    """Whether the members agree on what comes next, at each place (SAFE, arXiv 2510.15346, section 4).

    They do where every other member's most likely token is its own next one, the first that it reads where the main
    model's most likely token has followed; or where the mean over all members, by weight, of the probability of their
    own next tokens is above 1/2. Either makes that token the likeliest of the members' mean (their theorem 1). All end
    of text tokens are one. A token that a member cannot tell, as inside a character, has a probability of 0 here.

    Args:
        members: All members.
        main: Index of the main model among them.
        ahead: What they would read next.
        logits: Each member's logits, ``[P, V_i]``.
        weights: The aggregation weights in force, ``[P, N]``.
    """
    ends = {place for place, token in enumerate(ahead.tokens) if token in members[main].vocabulary.end_of_text}
    own: dict[int, Sequence[list[int] | None]] = {main: [[token] for token in ahead.tokens], **ahead.added}
    unanimous, mean = torch.ones(len(weights), dtype=torch.bool, device=weights.device), torch.zeros_like(weights[:, 0])
    for i, (member, said) in enumerate(zip(members, logits, strict=True)):
        role = member.vocabulary.end_of_text
        end = [role[0] if role else _NONE]
        wanted = [(end if place in ends else added or [_NONE])[0] for place, added in enumerate(own[i])]
        likeliest, share = _judged(EndOfText(role).fold(said), wanted)
        unanimous &= likeliest.to(weights.device) | (i == main)
        mean += weights[:, i] * share.to(weights.device)
    agreed: list[bool] = (unanimous | (mean > _MAJORITY)).tolist()
    return agreed


def _judged(logits: Tensor, wanted: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Whether a token is the likeliest, and its probability, at each place; -1 is none, ``[P]`` each."""
    token = torch.tensor(wanted, device=logits.device)
    own = logits.gather(1, token.clamp(min=0)[:, None])[:, 0]
    share = (own - logits.logsumexp(-1)).exp()
    return logits.argmax(-1) == token, torch.where(token == _NONE, 0.0, share)
