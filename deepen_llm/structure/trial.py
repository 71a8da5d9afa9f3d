"""Trial compilation of schemas, so that errors of llguidance appear before any model runs."""

from __future__ import annotations

import copy
import json
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.guidance import SINGLE_BYTES, make_tokenizer, reason
from deepen_llm.structure.paths import Location
from deepen_llm.structure.references import reachable

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_HINT = "correct it, or leave out what grammars cannot enforce; docs/structure.md lists it"


def check_compiles(schema: dict[str, Any]) -> None:
    """Check that a rewritten schema compiles.

    Raises:
        ConfigError: It does not compile; the message names the property and the keyword.
    """
    error = compile_error(json.dumps(schema))
    if error is not None:
        location, keyword = _culprit(schema)
        what = f", keyword {keyword!r}" if keyword else ""
        raise ConfigError(f"{location}{what}: it cannot be compiled: {error}", hint=_HINT)


@cache
def _tokenizer() -> LLTokenizer:
    return make_tokenizer([*SINGLE_BYTES, b"<end>"], special=[256], ends=[256])


@lru_cache(maxsize=512)
def compile_error(schema: str) -> str | None:
    """Compile a schema in JSON and return the error; None if there is none."""
    from llguidance import LLMatcher

    matcher = LLMatcher(_tokenizer(), LLMatcher.grammar_from_json_schema(schema), log_level=0)
    return reason(matcher.get_error()) if matcher.is_error() else None


def _culprit(schema: dict[str, Any]) -> tuple[Location, str | None]:
    """Find the innermost schema, and its keyword, without which the whole schema compiles."""
    trial = copy.deepcopy(schema)
    places = list(reversed(list(reachable(trial))))
    for cumulative in (False, True):
        for location, subschema in places:
            kept = dict(subschema)
            subschema.clear()
            compiles = location.path and compile_error(json.dumps(trial)) is None
            if compiles or not cumulative:
                subschema.update(kept)
            if compiles:
                return location, _keyword(trial, subschema)
    return Location(), None


def _keyword(whole: dict[str, Any], subschema: dict[str, Any]) -> str | None:
    for key in reversed(list(subschema)):
        value = subschema.pop(key)
        compiles = compile_error(json.dumps(whole)) is None
        subschema[key] = value
        if compiles and key != "type":
            return key
    return None
