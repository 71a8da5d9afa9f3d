"""What each member says in a mixture, what it abstains from included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def parts(said: Sequence[Tensor], fused: Tensor) -> Tensor:
    """``q'_i = q_i + (1 - S_i) · fused`` with ``S_i = Σ_v q_i(v)``, ``[N, P, V_m]``.

    Of a mixture ``fused = Σ λ_i q_i / Σ λ_i S_i``, what a member abstains from counts as the ensemble's own, as with
    experts that sleep in part (Freund et al., "Using and combining predictors that specialize", 1997), so that

        fused = Σ λ_i q'_i

    Args:
        said: Each member's q_i over main tokens, ``[P, V_m]``; sums to 1, or to less where it abstains.
        fused: The mixture, ``[P, V_m]``.
    """
    q = torch.stack(list(said))
    return q + (1 - q.sum(-1, keepdim=True)).clamp(min=0) * fused
