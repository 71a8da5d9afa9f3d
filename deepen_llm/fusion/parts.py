"""The members' parts of a mixture, with the share from which each abstains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def parts(distributions: Sequence[Tensor], fused: Tensor) -> Tensor:
    """``q'_i = q_i + (1 - S_i) · fused`` with ``S_i = Σ_v q_i(v)``, ``[N, P, V_m]``.

    In a mixture ``fused = Σ λ_i q_i / Σ λ_i S_i``, the share ``1 - S_i`` from which a member abstains is filled with
    the fused distribution, as for sleeping experts (Freund et al., "Using and combining predictors that specialize",
    1997), so that

        fused = Σ λ_i q'_i

    Args:
        distributions: Each member's q_i over main tokens, ``[P, V_m]``; sums to 1, or to less where it abstains.
        fused: The mixture, ``[P, V_m]``.
    """
    q = torch.stack(list(distributions))
    return q + (1 - q.sum(-1, keepdim=True)).clamp(min=0) * fused
