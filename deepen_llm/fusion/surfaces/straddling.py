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
in a forward that was made anyway. Logits are looked up for all places at once (`boundaries`); the few that matter are
weighed on the host.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.boundaries import BEYOND, INSIDE, OWN, Boundaries
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.fusion.surfaces.expected import Evidence, Expected, Floats
from deepen_llm.fusion.surfaces.transfer import fetched

_LEAST = 1e-4  # of the evidence; straddling tokens with less are left out
_IMPOSSIBLE = -60.0  # nats: no token of a text counts as less likely


def evidence(
    tokens: Tokens,
    logits: Tensor,
    trail: Trail,
    unfinished: bytes,
    *,
    guess: float,
    abstain: bool,
    answered: int = 0,
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
        answered: How many of the last bytes are the answer's, where only tokens that began in the prompt may straddle.
    """
    read = Boundaries(tokens, logits[None], [trail], [unfinished], [answered])
    (values,) = fetched([read.look()])
    return expected(read, values, guess=guess, abstain=abstain)[0]


def expected(read: Boundaries, values: NDArray[np.generic], *, guess: float, abstain: bool) -> Expected:
    """What a member expects at P places.

    Args:
        read: The boundaries at which it was read.
        values: What `Boundaries.look` found there.
        guess: See `evidence`.
        abstain: See `evidence`.
    """
    places, logs = read.places[read.boundary], _logarithms(read, values.astype(np.float64), guess)
    top = np.where(read.unheard, -np.inf, 0.0)  # [P], from which on no exponential overflows
    np.maximum.at(top, places, logs)
    top[np.isneginf(top)] = 0.0
    weights, here = np.exp(logs - top[places]), np.exp(np.where(read.unheard, -np.inf, -top))
    z = here + np.bincount(places, weights, len(top))
    known, z = z > 0, np.where(z > 0, z, 1.0)
    shares, here = weights / z[places], here / z
    unknown = np.bincount(places, np.where(read.kind == INSIDE, shares, 0.0), len(top))
    left = np.where(read.unheard, 0.0, unknown) * (not abstain)  # to the tokens that begin here
    kept = np.flatnonzero((read.kind == BEYOND) & (shares >= _LEAST))
    kept = kept[np.lexsort((read.backs[read.boundary[kept]], places[kept]))]
    abstained = np.where(known, unknown - left, 1.0)
    return Expected(here + left, abstained, places[kept], shares[kept], [read.told(i) for i in kept.tolist()])


def _logarithms(read: Boundaries, values: Floats, guess: float) -> Floats:
    """``ln w_k(u)``, or of the parts of ``a``, ``[T]``; ``-inf`` for the tokens that were read."""
    logits, norms = values[: len(read.kind)], values[len(read.kind) :]
    own, inside = read.kind == OWN, read.kind == INSIDE
    steps = np.zeros((len(read.unheard), 1 + read.backs.max(initial=0)))  # ln p_{j-1}(t_j), [P, K + 1]
    steps[read.places, read.backs] = np.where(read.backs > 0, np.maximum(logits[own] - norms, _IMPOSSIBLE), 0.0)
    logs: Floats = logits - (norms + steps.cumsum(1)[read.places, read.backs])[read.boundary]
    logs[inside] += read.missing * math.log(guess) if guess else -np.inf
    logs[own | (inside & (read.token == read.owns[read.boundary]))] = -np.inf
    return logs
