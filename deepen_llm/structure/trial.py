"""A schema compiled when it is given: what the grammar library refuses is an error before any model is asked."""

from __future__ import annotations

import copy
import json
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.paths import Place
from deepen_llm.structure.references import reachable

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_HINT = "correct it, or leave out what grammars cannot hold; docs/structure.md lists it"
_END = 256


class _Bytes:
    """A vocabulary of the single bytes and an end of text."""

    eos_token_id, bos_token_id = _END, None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]  # noqa: RUF012 (llguidance asks for a list)
    special_token_ids = [_END]  # noqa: RUF012

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def try_out(schema: dict[str, Any]) -> None:
    """Compile a schema.

    Args:
        schema: A schema in which everything is rewritten that can be.

    Raises:
        ConfigError: It does not compile; the message names the property and the keyword.
    """
    reason = refusal_of(json.dumps(schema))
    if reason is not None:
        place, keyword = _culprit(schema)
        what = f", keyword {keyword!r}" if keyword else ""
        raise ConfigError(f"{place}{what}: it cannot be compiled: {reason}", hint=_HINT)


@cache
def _tokenizer() -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=[_END])


@lru_cache(maxsize=512)
def refusal_of(schema: str) -> str | None:
    """Why a schema does not compile; None where it does.

    Args:
        schema: The schema as JSON.
    """
    from llguidance import LLMatcher

    matcher = LLMatcher(_tokenizer(), LLMatcher.grammar_from_json_schema(schema), log_level=0)
    return _gist(matcher.get_error()) if matcher.is_error() else None


def _gist(error: str) -> str:
    """The reason in llguidance's message, without places in a grammar that the user did not write."""
    lines = [line.strip() for line in error.strip().splitlines() if not re.match(r"\s*(\d+ \||\^+$)", line)]
    gist = " ".join(line for line in lines if line)
    return gist.removeprefix("failed to compile JSON schema: ")[:300] or "unknown reason"


def _culprit(schema: dict[str, Any]) -> tuple[Place, str | None]:
    """The innermost schema, and its keyword, without which the whole compiles, or would but for others like it."""
    trial = copy.deepcopy(schema)
    places = list(reversed(list(reachable(trial))))
    for together in (False, True):
        for place, one in places:
            kept = dict(one)
            one.clear()
            compiles = place.path and refusal_of(json.dumps(trial)) is None
            if compiles or not together:
                one.update(kept)
            if compiles:
                return place, _keyword(trial, one)
    return Place(), None


def _keyword(whole: dict[str, Any], one: dict[str, Any]) -> str | None:
    for key in reversed(list(one)):
        value = one.pop(key)
        compiles = refusal_of(json.dumps(whole)) is None
        one[key] = value
        if compiles and key != "type":
            return key
    return None
