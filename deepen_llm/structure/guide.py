"""One answer on its way through a grammar, with the shortest end always within reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepen_llm.errors import ConfigError, StructureError
from deepen_llm.structure.closing import Piece, closing
from deepen_llm.structure.spelling import spell
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SLACK = 8  # tokens by which more text may split another member's last ones


class Room(NamedTuple):
    """How much more an answer may take, in tokens.

    Attributes:
        main: Tokens of the main model.
        others: Tokens of the fullest other member, none of which is shorter than a byte.
    """

    main: int
    others: int


class Guide:
    """Says which tokens may follow, and ends an answer in good form before its room does.

    Args:
        vocabulary: The main model's vocabulary.
        tokens: A matcher over the vocabulary.
        spelled: The same grammar over single bytes: ids from the vocabulary's size on.

    Attributes:
        closing: The tokens of a short end from here on; empty where the answer may end here.
        forced: Whether the end was chosen for lack of room.

    Raises:
        ConfigError: No end is found.
    """

    def __init__(self, vocabulary: Vocabulary, tokens: LLMatcher, spelled: LLMatcher) -> None:
        self._vocabulary, self._tokens, self._spelled = vocabulary, tokens, spelled
        self.forced = False
        found = self._closing(spelled)
        if found is None:
            raise ConfigError(
                "no short end of an answer of this structure is found, in the main model's tokens",
                hint="anchor patterns with ^ and $, or require less; or make another member the main model",
            )
        self.closing: list[int] = found

    @property
    def finished(self) -> bool:
        """Whether the answer is whole and nothing may follow."""
        return bool(self._tokens.is_stopped())

    def fits(self, room: Room) -> bool:
        """Whether there is room for the shortest end."""
        return self._fit(self.closing, room)

    def allowed(self) -> Tensor:
        """Which tokens may follow, bool ``[V_m]``."""
        packed = np.frombuffer(self._tokens.compute_bitmask(), dtype=np.uint8)
        self._check()
        bits = np.unpackbits(packed, count=self._vocabulary.size, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def settle(self, token: int, room: Room) -> int:
        """Commit a token, or in its place the next one of the shortest end if the room were too small for it.

        Args:
            token: An allowed token.
            room: How much the answer may still take, this token included.

        Returns:
            The token committed.
        """
        ahead = self._spelled.deep_copy()
        after = self._after(ahead, token)
        left = Room(room.main - 1, room.others - len(self._vocabulary.surfaces[token] or b""))
        if after is None or not self._fit(after, left):
            self.forced = True
            token, *after = self.closing or [self._vocabulary.end_of_text[0]]
            ahead = self._spelled
            self._hear(ahead, token)
        self._spelled, self.closing = ahead, after
        self._tokens.consume_token(token)
        self._check()
        return token

    def _after(self, ahead: LLMatcher, token: int) -> list[int] | None:
        """The closing after a token, which the matcher hears; None where none is found."""
        self._hear(ahead, token)
        if token in self._vocabulary.end_of_text:
            return []
        if self.closing[:1] == [token]:
            return self.closing[1:]
        return self._closing(ahead)

    def _hear(self, spelled: LLMatcher, token: int) -> None:
        surface = self._vocabulary.surfaces[token]
        size = self._vocabulary.size
        spelled.consume_tokens([token] if surface is None else [size + byte for byte in surface])

    def _closing(self, spelled: LLMatcher) -> list[int] | None:
        """The tokens of a short end: of bytes that have tokens of their own, else of whatever spells it."""
        for spellable in (self._spellable, lambda _: True):
            found = closing(spelled, self._vocabulary.size, spellable)
            if found is not None and (tokens := self._encode(found)) is not None:
                return tokens
        return None

    def _spellable(self, byte: int) -> bool:
        return bytes([byte]) in self._vocabulary.ids

    def _encode(self, pieces: list[Piece]) -> list[int] | None:
        """The pieces' tokens; None where a byte has none."""
        spelled = [[piece] if isinstance(piece, int) else spell(self._vocabulary, piece) for piece in pieces]
        return None if None in spelled else [token for tokens in spelled for token in tokens or ()]

    def _fit(self, tokens: list[int], room: Room) -> bool:
        spelled = sum(len(self._vocabulary.surfaces[token] or b"") for token in tokens)
        return len(tokens) <= room.main and spelled + (_SLACK if spelled else 0) <= room.others

    def _check(self) -> None:
        if self._tokens.is_error():
            raise StructureError(
                f"the structure's grammar stopped: {self._tokens.get_error()}",
                hint="make the structure simpler: fewer alternatives, less nesting, shorter patterns",
            )
