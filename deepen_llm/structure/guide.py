"""Guide: the state of one answer in a grammar; a short end always fits the remaining tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deepen_llm.structure.budget import TokenBudget
from deepen_llm.structure.closing import NoEnd
from deepen_llm.structure.endings import Ending, Endings
from deepen_llm.structure.guidance import stopped
from deepen_llm.structure.regions import Region
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SLACK = 8  # tokens that another member's encoding may gain when text is appended


class Guide:
    """Masks the tokens that the grammar forbids, and ends an answer correctly before its budget is used up.

    Args:
        vocabulary: The main model's vocabulary.
        tokens: A matcher over the vocabulary.
        spelled: A matcher over single bytes, with ids from the vocabulary's size on.
        endings: Finds short ends of answers.
        ending: A short end from the start.

    Attributes:
        forced: Whether the guide replaced a token by the short end, for lack of tokens.
    """

    def __init__(
        self, vocabulary: Vocabulary, tokens: LLMatcher, spelled: LLMatcher, endings: Endings, ending: Ending
    ) -> None:
        self._vocabulary = vocabulary
        self._tokens = tokens
        self._spelled = spelled
        self._endings = endings
        self._ending = ending
        self._region = Region.OUTSIDE
        self.forced = False

    @property
    def closing(self) -> Sequence[int]:
        """The tokens of a short end; empty if the answer may end here."""
        return self._ending.tokens

    @property
    def finished(self) -> bool:
        """Whether the answer is complete and no token may follow."""
        return bool(self._tokens.is_stopped())

    def fits(self, budget: TokenBudget) -> bool:
        """Whether the short end fits a number of tokens."""
        return self._fit(self._ending, budget)

    def allowed(self) -> Tensor:
        """Compute the mask of allowed tokens, bool ``[V_m]``."""
        packed = np.frombuffer(self._tokens.compute_bitmask(), dtype=np.uint8)
        self._check()
        bits = np.unpackbits(packed, count=self._vocabulary.size, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def settle(self, token: int, budget: TokenBudget) -> int:
        """Commit a token; if no end would fit after it, commit the next token of the short end instead.

        Args:
            token: An allowed token.
            budget: The tokens that the answer may still have, including this one.

        Returns:
            The committed token.
        """
        ahead = self._spelled.deep_copy()
        after, region = self._after(ahead, token), self._behind(token)
        left = TokenBudget(budget.main - 1, budget.others - len(self._vocabulary.surfaces[token] or b""))
        if after is None or not self._fit(after, left):
            self.forced = True
            token = self.closing[0] if self.closing else self._vocabulary.end_of_text[0]
            ahead, region, after = self._spelled, self._behind(token), self._endings.behind(self._ending, token)
            self._take(ahead, token)
        self._spelled, self._region, self._ending = ahead, region, after
        self._tokens.consume_token(token)
        self._check()
        return token

    def _after(self, ahead: LLMatcher, token: int) -> Ending | None:
        """Advance the matcher by a token and find a short end; None if there is none."""
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
        return Region.OUTSIDE if surface is None else self._region.after(surface)

    def _fit(self, ending: Ending, budget: TokenBudget) -> bool:
        spelled = len(ending.ids)  # bytes, except for a few special tokens
        return len(ending.tokens) <= budget.main and spelled + (_SLACK if spelled else 0) <= budget.others

    def _check(self) -> None:
        if self._tokens.is_error():
            raise stopped(self._tokens)
