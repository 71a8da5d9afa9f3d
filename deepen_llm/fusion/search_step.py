"""One step of the inverse transformation's search, for traces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchStep:
    """Where the inverse transformation's search stood after a step.

    Attributes:
        objective: What the search lowers: the mean over anchors of ``KL(r̄ ‖ softmax(z) R_m)``, in nats, summed over the
            sets of anchors.
        probability: The committed token's, in ``softmax(z)``.
    """

    objective: float
    probability: float
