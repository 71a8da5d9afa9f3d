"""Random answers of a schema's grammar, byte by byte: whatever weights a model has, it writes one of these."""

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

_END = 256
_LONGEST = 900
_SOON = b'"}]'


class _Bytes:
    eos_token_id, bos_token_id = _END, None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]  # noqa: RUF012
    special_token_ids = [_END]  # noqa: RUF012

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@cache
def _tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=[_END])


@cache
def _matcher(schema: str) -> LLMatcher:
    space = {"x-guidance": {"whitespace_pattern": "( |\\n {0,16})?"}}
    lark = '%llguidance {"no_forcing": true}\nstart: value\nvalue: %json ' + json.dumps(json.loads(schema) | space)
    matcher = LLMatcher(_tokenizer(), LLMatcher.grammar_from_lark(lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def takes(schema: dict[str, Any], text: str) -> bool:
    """Whether a schema's grammar takes a text."""
    matcher = _matcher(json.dumps(schema)).deep_copy()
    return all(matcher.consume_token(byte) for byte in text.encode()) and bool(matcher.is_accepting())


def answers(schema: dict[str, Any], count: int, free: int = 40) -> Iterator[str]:
    """Random answers; few are left out, as they come to no end.

    Args:
        schema: A schema as `enforceable` makes it.
        count: How many walks are taken.
        free: Bytes after which an end is sought.
    """
    for seed in range(count):
        rng = random.Random(seed)  # noqa: S311
        text = _answer(_matcher(json.dumps(schema)).deep_copy(), rng, rng.randrange(free + 1))
        if text is not None:
            yield text


def _answer(matcher: LLMatcher, rng: random.Random, free: int) -> str | None:
    written = bytearray()
    while len(written) < _LONGEST and not matcher.is_stopped():
        packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(packed, bitorder="little")[: _END + 1].nonzero()[0].tolist()
        if _END in allowed and (len(written) >= free or len(allowed) == 1 or rng.random() < 0.1):
            break
        if not (bytes_ := [one for one in allowed if one != _END]):
            return None
        byte = _next(bytes_, rng, len(written) >= free)
        matcher.consume_token(byte)
        written.append(byte)
    return written.decode() if matcher.is_accepting() or matcher.is_stopped() else None


def _next(allowed: list[int], rng: random.Random, ending: bool) -> int:
    if not ending:
        structural = [one for one in allowed if one in b' \n"\\,:{}[]']
        return rng.choice(structural) if structural and rng.random() < 0.15 else rng.choice(allowed)
    soon = [byte for byte in _SOON if byte in allowed]
    if not soon and ord(",") in allowed and ord("q") not in allowed:
        return ord(",")  # after a number, which could go on for ever
    plain = [byte for byte in allowed if byte not in b" \n[{,\\"]
    simple = [byte for byte in plain if chr(byte).isalnum() and byte < 128]
    return soon[0] if soon else rng.choice((simple if rng.random() < 0.6 else plain) or plain or allowed)
