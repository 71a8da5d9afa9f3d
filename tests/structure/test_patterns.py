"""The laws of patterns that people copy: from wherever an answer stands, a short end is found, and it matches."""

import contextlib
import itertools
import json
import random
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import regex  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic_core import SchemaError, SchemaValidator, core_schema

from deepen_llm.errors import ConfigError
from deepen_llm.structure import Guide, TokenBudget
from deepen_llm.structure.dialects import supported_patterns
from deepen_llm.structure.grammar import shortest as shortest_answer
from deepen_llm.structure.matches import shortest
from deepen_llm.structure.patterns import characters
from deepen_llm.structure.regex import PatternError
from deepen_llm.structure.schema import enforceable
from deepen_llm.tools import grammar as lark
from tests.structure.copied import PATTERNS
from tests.structure.test_guide import WIDE, grammars, said, vocabulary
from tests.structure.walks import takes

EVERY = ["byte_level_bpe", "sentencepiece_bpe", "unigram_byte_fallback", "sentencepiece_unigram"]


def held(pattern: str) -> dict[str, Any]:
    properties = {"text": {"type": "string", "pattern": pattern}, "next": {"type": "integer"}}
    return enforceable({"type": "object", "properties": properties, "required": ["text", "next"]})


def guide(kind: str, schema: dict[str, Any]) -> Guide:
    return grammars(kind).compile(lark.of_schema(schema)).guide()


def matches(pattern: str, text: str) -> bool:
    return regex.search(pattern, text) is not None  # which knows \\p{L}


def value(kind: str, tokens: list[int]) -> str:
    text: str = json.loads(said(kind, tokens))["text"]
    return text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_copied_pattern_has_a_short_match(pattern: str) -> None:
    text = value("byte_level_bpe", [*guide("byte_level_bpe", held(pattern)).closing])
    assert matches(pattern, text)
    least = PATTERNS[pattern]
    assert len(text) <= (2 * least + 5 if least is not None else len(pattern))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_from_every_place_that_allowed_tokens_lead_to_an_end_is_found(pattern: str) -> None:
    draw = random.Random(pattern)  # noqa: S311
    kind = EVERY[draw.randrange(3)]
    one, tokens = guide(kind, held(pattern)), list[int]()
    while not one.finished and len(tokens) < 16:
        wanted = draw.choice(one.allowed().nonzero().flatten().tolist())
        tokens.append(one.settle(wanted, TokenBudget(WIDE, WIDE)))
        assert not one.forced
        assert matches(pattern, value(kind, [*tokens, *one.closing]))


@pytest.mark.parametrize("kind", EVERY)
def test_an_end_is_found_behind_half_a_string(kind: str) -> None:
    """Behind a backslash, within an escape of four digits, within a character's bytes, within a number."""
    schema = enforceable(
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number", "minimum": 10}}}
        | {"required": ["a", "b"]}
    )
    for start in (
        '{"a":"x\\\\',
        '{"a":"\\\\u00',
        '{"a":"é',
        '{"a":"ß:,]}',
        '{"a":"","b":',
        '{"a":"","b":1',
        '{"a":"","b":10.',
    ):
        text = start.replace("\\\\", "\\").encode()
        for cut in (0, 1) if start.endswith("é") and kind == "byte_level_bpe" else (0,):
            one, tokens = guide(kind, schema), list[int]()
            for byte in (bytes([value]) for value in text[: len(text) - cut]):
                known = vocabulary(kind).ids
                assert byte in known or kind == "sentencepiece_unigram"
                if byte in known:
                    tokens.append(one.settle(known[byte], TokenBudget(WIDE, WIDE)))
            assert not one.forced
            assert json.loads(said(kind, [*tokens, *one.closing]))["b"] >= 10
            assert len(one.closing) <= 20


PASSWORDS = {
    r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[@$!%*?&])[A-Za-z\d@$!%*?&]{8,}$": 8,
    r"^(?=.*?[A-Z])(?=.*?[a-z])(?=.*?[0-9])(?=.*?[#?!@$%^&*-]).{8,}$": 8,
    r"^(?=.{8,20}$)(?![_.])(?!.*[_.]{2})[a-zA-Z0-9._]+(?<![_.])$": 8,
    r"^(?!.*\.\.)(?!\.)[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$": 6,
    r"^(\S+\s+){9}\S+$": 19,
    r"^(.+\n){3,}$": 6,
}


@pytest.mark.parametrize("pattern", PASSWORDS)
def test_what_several_patterns_match_together_is_found_soon(pattern: str) -> None:
    schema, known = held(pattern), vocabulary("byte_level_bpe").ids
    begun = time.process_time()
    one = guide("byte_level_bpe", schema)
    assert time.process_time() - begun < 2  # about 0.2; by the search alone, up to 15
    assert len(value("byte_level_bpe", [*one.closing])) == PASSWORDS[pattern]
    tokens, begun = list[int](), time.process_time()
    for byte in b'{"text":"aa' if "S" not in pattern else b'{"text":"a a':
        tokens.append(one.settle(known[bytes([byte])], TokenBudget(WIDE, WIDE)))
    assert time.process_time() - begun < 2
    assert matches(pattern, value("byte_level_bpe", [*tokens, *one.closing]))
    assert not one.forced


@pytest.mark.parametrize(
    ("patterns", "least", "length"),
    [
        ((r"^\W+$",), 0, 1),
        ((r"^a|b$",), 0, 1),
        ((r"^[a-z]+$", r"q.*x"), 0, 2),
        ((r"^\d+$",), 5, 5),
        ((r"^(?:ab)*$", r"^(?:aba)*$"), 1, None),
        ((r"^\p{Lu}\p{Ll}{3}$",), 0, 4),
        ((r"^(?=a)a$",), 0, None),
    ],
)
def test_a_shortest_text_matches_all_patterns(patterns: tuple[str, ...], least: int, length: int | None) -> None:
    text = shortest(patterns, least)
    assert (None if text is None else len(text)) == length
    assert text is None or all(matches(pattern, text) for pattern in patterns)


def test_a_pattern_beside_others_is_found_among_them() -> None:
    patterns = list(PATTERNS)[:12]
    schema = enforceable(
        {
            "type": "object",
            "properties": {f"p{i}": {"type": "string", "pattern": pattern} for i, pattern in enumerate(patterns)},
            "required": [f"p{i}" for i in range(len(patterns))],
        }
    )
    made = json.loads(said("byte_level_bpe", [*guide("byte_level_bpe", schema).closing]))
    assert all(matches(pattern, made[f"p{i}"]) for i, pattern in enumerate(patterns))


NAMES = [f"customer_field_number_{i:03}" for i in range(150)]
LONG: dict[str, dict[str, Any]] = {
    "fields": {"type": "object", "properties": {name: {"type": "string"} for name in NAMES}, "required": NAMES},
    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2000},
    "characters": {"type": "string", "minLength": 5000},
    "repeated": {"type": "string", "pattern": "^[a-z]{5000}-[0-9]{3000}$"},
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_answer_has_an_end_too(name: str) -> None:
    schema = enforceable(LONG[name])
    made = said("byte_level_bpe", [*guide("byte_level_bpe", schema).closing])
    Draft202012Validator(schema).validate(json.loads(made))
    assert len(made) <= {"fields": 4700, "items": 4001, "characters": 5060, "repeated": 8005}[name]


def test_the_end_of_a_hundred_fields_is_kept_up_to_date_in_little_time() -> None:
    fields = {f"customer_field_number_{i:03}": {"type": "string"} for i in range(100)}
    schema = enforceable({"type": "object", "properties": fields, "required": [*fields]})
    one, known, taken = guide("byte_level_bpe", schema), vocabulary("byte_level_bpe").ids, list[float]()
    size, text = len(one.closing), b""
    while len(one.closing) > size // 2 or not text.endswith(b':"'):
        token = one.settle(one.closing[0], TokenBudget(WIDE, WIDE))
        text += vocabulary("byte_level_bpe").surfaces[token] or b""
    for _ in range(40):
        begun = time.process_time()
        one.settle(known[b"e"], TokenBudget(WIDE, WIDE))
        taken.append(time.process_time() - begun)
    assert len(one.closing) <= size // 2 + 30
    assert sorted(taken)[20] < 0.02  # about 1 ms; anew it would be 60


def test_the_end_of_many_items_is_kept_up_to_date_in_little_time_and_stays_the_shortest() -> None:
    items, known = 2000, vocabulary("byte_level_bpe").ids
    one = guide("byte_level_bpe", enforceable({"type": "array", "items": {"type": "integer"}, "minItems": items}))
    settling, parsing, text = list[float](), list[float](), b"[12345, 7, 88, 999,\n1, 2,3"
    for place in range(len(text)):
        begun = time.process_time()
        one.settle(known[text[place : place + 1]], TokenBudget(WIDE, WIDE))
        settled = time.process_time()
        written = text[: place + 1].decode() + said("byte_level_bpe", [*one.closing])
        spelled = time.process_time()
        assert len(json.loads(written)) == items
        settling.append(settled - begun)
        parsing.append(time.process_time() - spelled)
    assert not one.forced
    # About 80 times the time of parsing the answer; it would be 600 if each rest of the former end were tried.
    assert statistics.median(settling) < 200 * statistics.median(parsing)


def test_expressions_that_may_recur_without_end_come_to_one() -> None:
    leaf = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
    sides = {side: {"$ref": "#/$defs/Expr"} for side in ("left", "right")}
    node = {"type": "object", "properties": {"op": {"enum": ["+", "-"]}, **sides}, "required": ["op", *sides]}
    schema = enforceable({"$defs": {"Expr": {"anyOf": [node, leaf]}}, "$ref": "#/$defs/Expr"})
    made = json.loads(said("byte_level_bpe", [*guide("byte_level_bpe", schema).closing]))
    Draft202012Validator(schema).validate(made)
    assert made == {"value": 0}


def test_a_shortest_answer_needs_no_model() -> None:
    assert json.loads(shortest_answer(lark.of_schema(held("^[a-z]+$")))) == {"text": "a", "next": 0}
    with pytest.raises(ConfigError, match="cannot be compiled"):
        shortest_answer(lark.of_schema({"type": "string", "pattern": "^(?!a)b$"}))


EXCLUDING = [
    r'^[^"]+$', r"^[^\\]+$", r'^[^"\\\n]$', r'^x[^"]+y$', r'^"[^"]*"$', r"^[\x00-!#-\uffff]+$", r"^[\x00-\x1f]+$",
    r'^[^\W"]+$', r'^(?!.*").+$', r'^(?:a|[^"])(?:[^\\]|b)$', r'^[^<>"]+$', r'^(?:[^"]|\n)+$', r"^[^!-~]+$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", EXCLUDING)
def test_a_set_without_quote_or_backslash_takes_neither(pattern: str) -> None:
    for text in ('"', "\\", 'a"', "x\\y", 'x"y', '"""', '"a"', '\\"', "\n", "a\\", "é"):
        taken = takes(enforceable({"type": "string", "pattern": pattern}), json.dumps(text, ensure_ascii=False))
        assert matches(pattern, text) or not taken
    assert matches(pattern, value("byte_level_bpe", [*guide("byte_level_bpe", held(pattern)).closing]))


SETS = [
    *"[]^-&~!a:,z", "[", "]", "[:alpha:]", "&&", "--", "~~", r"\[", r"\]", r"\d", r"\w", r"\-", r"\\", "a-z", "[a",
    "]]", "||", r"\!-", r"\x41", r"\b", r"\s",
]  # fmt: skip
SAID = ["".join(text) for size in (1, 2) for text in itertools.product("[]^-&~!a:,zlk5\\|A \b", repeat=size)]


def readings(pattern: str) -> Iterator[Callable[[str], bool]]:
    """How Python and Rust read a pattern, where they can."""
    with contextlib.suppress(re.error), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        read = re.compile(pattern)
        yield lambda text: read.search(text) is not None
    with contextlib.suppress(SchemaError):
        yield SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python


def test_a_set_takes_what_every_dialect_does_that_can_read_it() -> None:
    draw, kept = random.Random(1), 0  # noqa: S311
    for _ in range(4000):
        pattern = f"^[{''.join(draw.choice(SETS) for _ in range(draw.randrange(1, 7)))}]+$"
        try:
            (narrow,) = supported_patterns(pattern)
        except PatternError:
            continue
        (*_, taken) = readings(narrow)
        said = [text for text in SAID if taken(text)]
        assert all(read(text) for read in readings(pattern) for text in said), pattern
        kept += 1
    assert kept > 1500


@pytest.mark.parametrize(
    "pattern",
    ["[[a-z]]+", "[[0-9]-]+", "[[:alpha:]]+", "[^[:space:]]+", "[a[b]c]", "[]a]", "[a-z&&[^x]]", "[+--/]", "[a~~b]"],
)
def test_a_set_that_dialects_read_in_different_ways_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="in different ways"):
        held(f"^{pattern}$")


@pytest.mark.parametrize("pattern", [r"[^[\]]+", r"[!-/:-@[-`{-~]", r"\[[^[\]]+\]", "[:alpha:]+", r"[\w-.]", "[a-c-e]"])
def test_a_set_that_dialects_read_alike_is_held(pattern: str) -> None:
    assert held(f"^{pattern}$")


def test_the_error_names_the_character_that_the_vocabulary_lacks() -> None:
    with pytest.raises(ConfigError, match="it has no token for 'Ω'"):
        guide("sentencepiece_unigram", {"type": "object", "properties": {"Ω1": {}}, "required": ["Ω1"]})


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [(r"^[\w./-]+\.py$", "a.py"), (r"\$\x41\u0042\t", "$AB\t"), (r"[^abc]{3,4}\[\]", "0[]"), (r"[\]a]\p{Lu}", "aA")],
)
def test_a_patterns_characters_are_read_in_order(pattern: str, parts: str) -> None:
    assert "".join(characters(pattern)) == parts
