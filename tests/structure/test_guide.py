"""The laws of a guide: whatever allowed tokens are drawn, the answer is whole, and within its budget."""

import json
import random
import sys
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.structure import Grammars, Guide, TokenBudget
from deepen_llm.structure.schema import enforceable
from deepen_llm.tools import grammar as lark
from deepen_llm.vocabulary import Vocabulary
from tests.models import random_model, small
from tests.structure.documents import SCHEMAS
from tests.tokenizers import REAL, SMALL

KINDS = [kind for kind in SMALL if kind != "wordpiece"]  # which has no quote without a space before it
WIDE = sys.maxsize


@cache
def grammars(kind: str) -> Grammars:
    return Grammars(vocabulary(kind))


@cache
def vocabulary(kind: str) -> Vocabulary:
    if kind in SMALL:
        return LocalMember(*small("llama", kind, wider=3)).vocabulary
    tokenizer = REAL[kind]()
    return LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer).vocabulary


def guide(kind: str, schema: str) -> Guide:
    return grammars(kind).compile(lark.of_schema(enforceable(SCHEMAS[schema]))).guide()


def said(kind: str, tokens: Sequence[int]) -> str:
    return b"".join(vocabulary(kind).surfaces[token] or b"" for token in tokens).decode()


def finished(guide: Guide, budget: TokenBudget, draw: random.Random) -> list[int]:
    """Tokens of a whole answer, drawn from the allowed ones."""
    tokens: list[int] = []
    while not guide.finished and len(tokens) < budget.main:
        allowed = guide.allowed().nonzero().flatten().tolist()
        wanted = draw.choice(allowed)
        token = guide.settle(wanted, TokenBudget(budget.main - len(tokens), budget.others))
        assert token in allowed
        tokens.append(token)
        budget = TokenBudget(budget.main, budget.others - len(guide._vocabulary.surfaces[token] or b""))
        assert budget.others >= 0
    return tokens


def check(schema: str, text: str) -> None:
    Draft202012Validator(enforceable(SCHEMAS[schema])).validate(json.loads(text))


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("kind", KINDS)
def test_allowed_tokens_end_in_a_valid_document_within_any_room(kind: str, schema: str) -> None:
    shortest = len(guide(kind, schema).closing)
    for seed, more in enumerate((0, 1, 2, 5, 13, 29)):
        draw = random.Random(seed)  # noqa: S311
        tokens = finished(guide(kind, schema), TokenBudget(shortest + more, WIDE), draw)
        assert len(tokens) <= shortest + more
        check(schema, said(kind, tokens))
    size = len(said(kind, guide(kind, schema).closing).encode()) + 8
    check(schema, said(kind, finished(guide(kind, schema), TokenBudget(WIDE, size + 20), random.Random(1))))  # noqa: S311


@pytest.mark.parametrize("kind", ["cl100k", "tekken", "mistral_v3"])
def test_real_vocabularies_too(kind: str) -> None:
    for schema in ("person", "loops", "deep"):
        shortest = len(guide(kind, schema).closing)
        for seed in range(2):
            draw = random.Random(seed)  # noqa: S311
            tokens = finished(guide(kind, schema), TokenBudget(shortest + 25, WIDE), draw)
            check(schema, said(kind, tokens))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_closing_is_valid_from_every_prefix(schema: str) -> None:
    for kind in KINDS[:2]:
        one, tokens, draw = guide(kind, schema), list[int](), random.Random(7)  # noqa: S311
        while not one.finished and len(tokens) < 30:
            check(schema, said(kind, [*tokens, *one.closing]))
            tokens.append(one.settle(draw.choice(one.allowed().nonzero().flatten().tolist()), TokenBudget(WIDE, WIDE)))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_special_tokens_are_never_allowed(kind: str) -> None:
    one, known = guide(kind, "any"), vocabulary(kind)
    for token in one.closing:
        allowed = one.allowed()
        assert allowed.dtype == torch.bool
        assert allowed.shape == (known.size,)
        assert not allowed[known.tokenizer_size :].any()
        assert not allowed[sorted(known.special)].any()
        one.settle(token, TokenBudget(WIDE, WIDE))
    assert set(one.allowed().nonzero().flatten().tolist()) & known.special <= set(known.end_of_text)


def test_characters_that_the_vocabulary_lacks_are_never_begun() -> None:
    kind = "sentencepiece_unigram"  # it has no bytes to fall back to
    schema = {"enum": ["Ω1", "b"]}
    one = grammars(kind).compile(lark.of_schema(schema)).guide()
    assert said(kind, finished(one, TokenBudget(WIDE, WIDE), random.Random(0))).strip() == '"b"'  # noqa: S311
    with pytest.raises(ConfigError, match="no short end of an answer of this structure"):
        grammars(kind).compile(lark.of_schema({"enum": ["Ω1"]})).guide()


def test_characters_with_a_token_but_no_bytes_can_be_spelled() -> None:
    kind = "sentencepiece_unigram"
    one = grammars(kind).compile(lark.of_schema({"enum": ["Größe"]})).guide()
    assert said(kind, one.closing) == '"Größe"'


def test_a_vocabulary_without_an_end_is_refused() -> None:
    tokenizer = SMALL["byte_level_bpe"]()
    plain = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[])
    with pytest.raises(ConfigError, match="expected a main model with an end-of-text token"):
        Grammars(plain)


def test_what_is_not_allowed_cannot_be_missed() -> None:
    """The mask is exact: a token is allowed if and only if some document goes on with it."""
    one = guide("byte_level_bpe", "integer")
    known = vocabulary("byte_level_bpe")
    allowed = {known.surfaces[token] for token in one.allowed().nonzero().flatten().tolist()}
    numbers = {surface for surface in known.ids if surface.strip(b" \n").isdigit()}
    expected = {surface for surface in numbers if surface[:1] != b"0" or len(surface) == 1}
    assert expected <= allowed | {surface for surface in expected if surface.count(b" ") + surface.count(b"\n") > 1}
    for surface in allowed - {None}:
        assert surface in {b" ", b"\n", b"-", b" -"} or surface.strip(b" \n-").isdigit(), surface
