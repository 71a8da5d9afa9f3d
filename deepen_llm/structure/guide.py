"""One answer on its way through a grammar, with the shortest end always within reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deepen_llm.errors import StructureError
from deepen_llm.structure.budget import TokenBudget
from deepen_llm.structure.closing import NoEnd
from deepen_llm.structure.endings import Ending, Endings
from deepen_llm.structure.regions import Region
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SLACK = 8  # tokens by which more text may split another member's last ones


class Guide:
    """Says which tokens may follow, and ends an answer in good form within its token budget.

    Args:
        vocabulary: The main model's vocabulary.
        tokens: A matcher over the vocabulary.
        spelled: The same grammar over single bytes: ids from the vocabulary's size on.
        endings: Finds the grammar's short ends.
        ending: The one from its start.

    Attributes:
        forced: Whether the end was chosen because the token budget was used up.
    """

    def __init__(
        self, vocabulary: Vocabulary, tokens: LLMatcher, spelled: LLMatcher, endings: Endings, ending: Ending
    ) -> None:
        self._vocabulary, self._tokens, self._spelled, self._endings = vocabulary, tokens, spelled, endings
        self._place, self._ending, self.forced = Region.OUTSIDE, ending, False

    @property
    def closing(self) -> Sequence[int]:
        """The tokens of a short end from here on; empty where the answer may end here."""
        return self._ending.tokens

    @property
    def finished(self) -> bool:
        """Whether the answer is whole and nothing may follow."""
        return bool(self._tokens.is_stopped())

    def fits(self, budget: TokenBudget) -> bool:
        """Whether the shortest end fits into a budget."""
        return self._fit(self._ending, budget)

    def allowed(self) -> Tensor:
        """Which tokens may follow, bool ``[V_m]``."""
        packed = np.frombuffer(self._tokens.compute_bitmask(), dtype=np.uint8)
        self._check()
        bits = np.unpackbits(packed, count=self._vocabulary.size, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def settle(self, token: int, budget: TokenBudget) -> int:
        """Commit a token, or the next one of the shortest end where the budget is too small for the token.

        Args:
            token: An allowed token.
            budget: How many tokens the answer may still take, this one included.

        Returns:
            The token committed.
        """
        ahead = self._spelled.deep_copy()
        after, place = self._after(ahead, token), self._behind(token)
        left = TokenBudget(budget.main - 1, budget.others - len(self._vocabulary.surfaces[token] or b""))
        if after is None or not self._fit(after, left):
            self.forced = True
            token = self.closing[0] if self.closing else self._vocabulary.end_of_text[0]
            ahead, place, after = self._spelled, self._behind(token), self._endings.behind(self._ending, token)
            self._take(ahead, token)
        self._spelled, self._place, self._ending = ahead, place, after
        self._tokens.consume_token(token)
        self._check()
        return token

    def _after(self, ahead: LLMatcher, token: int) -> Ending | None:
        """The end after a token, which the matcher takes; None where none is found."""
        self._take(ahead, token)
        if token in self._vocabulary.end_of_text:
            return Ending()
        if self.closing and self.closing[0] == token:
            return self._endings.behind(self._ending, token)
        try:
            return self._endings.find(ahead, self._behind(token), self._ending)
        except NoEnd:
            return None

    def _take(self, spelled: LLMatcher, token: int) -> None:
        surface, size = self._vocabulary.surfaces[token], self._vocabulary.size
        spelled.consume_tokens([token] if surface is None else [size + byte for byte in surface])

    def _behind(self, token: int) -> Region:
        surface = self._vocabulary.surfaces[token]
        return Region.OUTSIDE if surface is None else self._place.after(surface)

    def _fit(self, ending: Ending, budget: TokenBudget) -> bool:
        spelled = len(ending.ids)  # bytes, but for a few special tokens
        return len(ending.tokens) <= budget.main and spelled + (_SLACK if spelled else 0) <= budget.others

    def _check(self) -> None:
        if self._tokens.is_error():
            raise StructureError(
                f"the structure's grammar stopped: {self._tokens.get_error()}",
                hint="make the structure simpler: fewer alternatives, less nesting, shorter patterns",
            )
