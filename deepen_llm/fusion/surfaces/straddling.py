"""A member's evidence about its next tokens, read at its last token boundaries, too.

A member that has " Nairobi" as one token, and reads " N" as text, was not trained to continue there: its prediction is
unreliable. Its prediction one token earlier is reliable. By Bayes' rule over the ways to cover the last bytes with
tokens (valid covers: arXiv 2410.09303, 2506.14123), with t_1..t_n the member's encoding of the text, p_j its
distribution after t_1..t_j, and x the bytes that it has not read (of an incomplete character, or a space that its
tokenizer drops):

    b_k = s(t_{n-k+1}) … s(t_n) x               the last bytes
    B_k = Π_{j=n-k+1..n} p_{j-1}(t_j)           the probability of its own tokens there
    w_k(u) = p_{n-k}(u) / B_k                   for every longer u that begins with b_k: it straddles the end

The mass of covers that would need another forward is estimated:

    a = Σ_k Σ_u p_{n-k}(u) guess^(|b_k|-|s(u)|) / B_k     over u ≠ t_{n-k+1} with which b_k begins

With ``Z = a + Σ w``, the evidence is ``w / Z``, and the member abstains for the share ``a / Z``. Every w_k comes from a
forward that decoding made already. Logits are gathered for all positions at once (`boundaries`), and evaluated on the
CPU.
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

_LEAST = 1e-4  # the smallest share of the evidence; straddling tokens with less are left out
_IMPOSSIBLE = -60.0  # nats: the smallest log-probability of a token of the text


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
    """A member's evidence at one position.

    Args:
        tokens: The member's tokens.
        logits: Its next-token logits there, ``[V_i]``.
        trail: The tokens before; empty to use ``logits`` only.
        unfinished: Bytes after them that the member has not read.
        guess: The assumed probability of a byte that no forward has read; 0 leaves such covers out.
        abstain: Whether the member abstains for the share of such covers; otherwise it goes to tokens that begin here.
        answered: How many of the last bytes are the answer's, where only tokens that began in the prompt may straddle.
    """
    boundaries = Boundaries(tokens, logits[None], [trail], [unfinished], [answered])
    (values,) = fetched([boundaries.values()])
    return expected(boundaries, values, guess=guess, abstain=abstain)[0]


def expected(boundaries: Boundaries, values: NDArray[np.generic], *, guess: float, abstain: bool) -> Expected:
    """A member's evidence at P positions.

    Args:
        boundaries: The boundaries at which it was read.
        values: The values of `Boundaries.values`.
        guess: See `evidence`.
        abstain: See `evidence`.
    """
    positions = boundaries.positions[boundaries.boundary]
    logs = _logarithms(boundaries, values.astype(np.float64), guess)
    top = np.where(boundaries.unread, -np.inf, 0.0)  # [P], subtracted so that no exponential overflows
    np.maximum.at(top, positions, logs)
    top[np.isneginf(top)] = 0.0
    weights, here = np.exp(logs - top[positions]), np.exp(np.where(boundaries.unread, -np.inf, -top))
    z = here + np.bincount(positions, weights, len(top))
    known, z = z > 0, np.where(z > 0, z, 1.0)
    shares, here = weights / z[positions], here / z
    unknown = np.bincount(positions, np.where(boundaries.kind == INSIDE, shares, 0.0), len(top))
    left = np.where(boundaries.unread, 0.0, unknown) * (not abstain)  # to the tokens that begin here
    kept = np.flatnonzero((boundaries.kind == BEYOND) & (shares >= _LEAST))
    kept = kept[np.lexsort((boundaries.backs[boundaries.boundary[kept]], positions[kept]))]
    abstained = np.where(known, unknown - left, 1.0)
    tokens = [boundaries.straddler(i) for i in kept.tolist()]
    return Expected(here + left, abstained, positions[kept], shares[kept], tokens)


def _logarithms(boundaries: Boundaries, values: Floats, guess: float) -> Floats:
    """``ln w_k(u)``, or of the parts of ``a``, ``[T]``; ``-inf`` for the tokens that were boundaries."""
    logits, norms = values[: len(boundaries.kind)], values[len(boundaries.kind) :]
    own, inside = boundaries.kind == OWN, boundaries.kind == INSIDE
    steps = np.zeros((len(boundaries.unread), 1 + boundaries.backs.max(initial=0)))  # ln p_{j-1}(t_j), [P, K + 1]
    steps[boundaries.positions, boundaries.backs] = np.where(
        boundaries.backs > 0, np.maximum(logits[own] - norms, _IMPOSSIBLE), 0.0
    )
    logs: Floats = logits - (norms + steps.cumsum(1)[boundaries.positions, boundaries.backs])[boundaries.boundary]
    logs[inside] += boundaries.missing * math.log(guess) if guess else -np.inf
    logs[own | (inside & (boundaries.token == boundaries.owns[boundaries.boundary]))] = -np.inf
    return logs
