"""How many tokens an answer may still take."""

from __future__ import annotations

from typing import NamedTuple


class TokenBudget(NamedTuple):
    """How many more tokens an answer may take.

    Attributes:
        main: Tokens of the main model.
        others: Tokens of the other member with the fewest left; none of these tokens is shorter than a byte.
    """

    main: int
    others: int
