"""Tokenizers and messages of llguidance, which is imported on first use, so that plain decoding does not load it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from deepen_llm.errors import StructureError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

SINGLE_BYTES = tuple(bytes([byte]) for byte in range(256))
"""The text of every byte, by its value."""


class _Tokens:
    """The tokens for llguidance; nothing is encoded, since grammars set ``no_forcing``, and trials only compile."""

    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes], special: Collection[int], end: int) -> None:
        self.tokens = list(tokens)
        self.special_token_ids = list(special)
        self.eos_token_id = end

    def __call__(self, text: bytes) -> list[int]:
        return []


def make_tokenizer(tokens: Sequence[bytes], special: Collection[int], ends: Sequence[int]) -> LLTokenizer:
    """Make a tokenizer for llguidance.

    Args:
        tokens: The text of every token.
        special: The ids of special tokens.
        ends: The ids of tokens that end a text.
    """
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Tokens(tokens, special, ends[0])), eos_token=list(ends))


def stopped(matcher: LLMatcher) -> StructureError:
    """Make the error for a matcher that stopped while an answer is generated."""
    return StructureError(
        f"the structure's grammar stopped: {matcher.get_error()}",
        hint="make the structure simpler: fewer alternatives, less nesting, shorter patterns",
    )


def reason(error: str) -> str:
    """The reason in llguidance's message, without positions in the grammar, which the user did not write."""
    lines = [line.strip() for line in error.strip().splitlines() if not re.match(r"\s*(\d+ \||\^+$)", line)]
    gist = re.sub(r"^at \d+\(\d+\): ", "", " ".join(filter(None, lines)))
    return gist.removeprefix("failed to compile JSON schema: ")[:300] or "unknown reason"
