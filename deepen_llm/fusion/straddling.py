"""What a member expects next, read at its last tokens' boundaries, too.

A member that would write " Nairobi" in one token, and reads " N" as text, never saw a word begin so: what it says next
is nonsense. What it meant is known from one token earlier. By Bayes' rule over the ways to cover the last bytes with
tokens (valid covers: arXiv 2410.09303, 2506.14123), with t_1..t_n the member's encoding of the text, p_j its
distribution after t_1..t_j, and x the bytes that it has not heard (of an unfinished character, or a space that its
tokenizer drops):

    b_k = s(t_{n-k+1}) … s(t_n) x               the last bytes
    B_k = Π_{j=n-k+1..n} p_{j-1}(t_j)           the probability of its own tokens there
    w_k(u) = p_{n-k}(u) / B_k                   for every u that begins with b_k and goes on: it straddles the end

Covers that would need another forward are guessed at, as a share of what cannot be known:

    a = Σ_k Σ_u p_{n-k}(u) guess^(|b_k|-|s(u)|) / B_k     over u ≠ t_{n-k+1} that b_k begins with

With ``Z = a + Σ w``, the evidence is ``w / Z``, and for ``a / Z`` of its weight the member abstains. Every w_k is read
in a forward that was made anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.fusion.correspondence import Tokens
from deepen_llm.fusion.past import Trail

_LEAST = 1e-4  # of the evidence; straddling tokens with less are left out
_IMPOSSIBLE = -60.0  # nats: no token of a text counts as less likely


@dataclass(frozen=True)
class Straddler:
    """A token that reaches over the end of the text.

    Attributes:
        behind: The last bytes of the text, which it begins with.
        token: The token.
        share: Its share of the evidence.
        back: How many tokens before the end of the text it begins.
    """

    behind: bytes
    token: int
    share: float
    back: int


@dataclass(frozen=True)
class Evidence:
    """What a member expects at one place; the shares of all of it sum to 1 with what it abstains from.

    Attributes:
        here: The share of the distribution over tokens that begin here.
        straddlers: Tokens that began before.
        abstained: The share of what cannot be known.
    """

    here: float
    straddlers: Sequence[Straddler] = ()
    abstained: float = 0.0


def evidence(
    tokens: Tokens, logits: Tensor, trail: Trail, unfinished: bytes, *, guess: float, abstain: bool
) -> Evidence:
    """Read a member at one place.

    Args:
        tokens: The member's tokens.
        logits: Its next-token logits there, ``[V_i]``.
        trail: The tokens before; empty where only ``logits`` count.
        unfinished: Bytes behind them that the member has not heard.
        guess: See above; 0 to guess at nothing.
        abstain: Whether the member abstains from what cannot be known, rather than to leave it to the tokens that
            begin here.
    """
    unheard = trail.dropped + unfinished
    if not trail.tokens and not unheard:
        return Evidence(1.0)
    found, unknown = list[_Read](), list[float]()  # logarithms of Σ w_k, and of the parts of a
    behind, path = unheard, 0.0
    if unheard:
        norm = float(logits.logsumexp(-1))
        found.append(_Read(unheard, 0, tokens, logits, norm))
        unknown += _inside(tokens, logits, norm, unheard, guess, None)
    for back, (token, one, own) in enumerate(zip(trail.tokens, trail.logits, trail.norms, strict=True), 1):
        behind, norm = (tokens.surfaces[token] or b"") + behind, float(own)
        path += max(float(one[token]) - norm, _IMPOSSIBLE)
        found.append(_Read(behind, back, tokens, one, norm + path))
        unknown += _inside(tokens, one, norm + path, behind, guess, token)
    return _shared(found, unknown, here=not unheard, abstain=abstain)


class _Read:
    """The tokens that begin with the last bytes and go on.

    Args:
        behind: The last bytes.
        back: How many tokens before the end they begin.
        tokens: The member's tokens.
        logits: Its logits there, ``[V_i]``.
        norm: The logarithm of what to divide their exponentials by.
    """

    def __init__(self, behind: bytes, back: int, tokens: Tokens, logits: Tensor, norm: float) -> None:
        self.behind, self.back = behind, back
        self.ids = tokens.order[tokens.beyond(behind)].to(logits.device)
        self.logs = logits[self.ids].double() - norm  # ln w_k(u)
        self.total = float(self.logs.logsumexp(-1)) if len(self.ids) else -math.inf


def _inside(tokens: Tokens, logits: Tensor, norm: float, behind: bytes, guess: float, own: int | None) -> list[float]:
    """Logarithms of the parts of ``a``, at one place further back."""
    if not guess:
        return []
    inside = [(size, tokens.ids.get(behind[:size])) for size in range(1, len(behind) + 1)]
    known = [(size, id_) for size, id_ in inside if id_ is not None and id_ != own]
    if not known:
        return []
    logs = (logits[[id_ for _, id_ in known]].double() - norm).tolist()
    return [log + (len(behind) - size) * math.log(guess) for (size, _), log in zip(known, logs, strict=True)]


def _shared(found: Sequence[_Read], unknown: Sequence[float], *, here: bool, abstain: bool) -> Evidence:
    """The shares, computed from the largest logarithm on so that none overflows."""
    logs = [0.0] * here + [one.total for one in found] + list(unknown)
    top = max(logs, default=-math.inf)
    if top == -math.inf:
        return Evidence(0.0, abstained=1.0)
    z = sum(math.exp(log - top) for log in logs)
    guessed = sum(math.exp(log - top) for log in unknown) / z
    straddlers = [
        Straddler(one.behind, int(id_), share, one.back)
        for one in found
        if math.exp(one.total - top) / z >= _LEAST
        for id_, share in _likely(one, top, z)
    ]
    share = math.exp(-top) / z if here else 0.0
    if abstain or not here:
        return Evidence(share, straddlers, guessed)
    return Evidence(share + guessed, straddlers)


def _likely(one: _Read, top: float, z: float) -> list[tuple[int, float]]:
    shares = (one.logs - top).exp() / z
    kept = torch.nonzero(shares >= _LEAST)[:, 0]
    return list(zip(one.ids[kept].tolist(), shares[kept].tolist(), strict=True))
