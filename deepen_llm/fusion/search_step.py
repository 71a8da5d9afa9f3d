"""One step of the inverse transformation's search, for traces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchStep:
    """The state of the inverse transformation's search after a step.

    Attributes:
        objective: The quantity that the search minimizes: the mean over anchors of ``KL(r̄ ‖ softmax(z) R_m)``, in nats,
            summed over the sets of anchors.
        probability: The probability of the committed token in ``softmax(z)``.
    """

    objective: float
    probability: float
