"""What a caller may ask an answer to be, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Literal, Optional

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from deepen_llm import EnsembleConfig, EnsembleLLM, GenerationOptions
from deepen_llm.errors import ConfigError, StructureError
from deepen_llm.outputs import Sample
from deepen_llm.structure import Grammars, ResponseFormat
from deepen_llm.structure.schema import enforceable
from deepen_llm.testing import scripted
from deepen_llm.tools import grammar as lark
from tests.structure.test_guide import vocabulary
from tests.tokenizers import byte_level_bpe

PROMPT = "The quick brown fox"


class Model(BaseModel):
    n: int


@dataclass
class Data:
    n: int


class Typed(TypedDict):
    n: int


class Odd(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("even")
        return value


class Tree(BaseModel):
    n: int
    left: Optional["Tree"] = None


OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORMS: list[tuple[Any, str, Any]] = [
    (Model, '{"n": 7}', Model(n=7)),
    (Data, '{"n": 7}', Data(7)),
    (Typed, '{"n": 7}', {"n": 7}),
    (Tree, '{"n": 7, "left": {"n": 8}}', Tree(n=7, left=Tree(n=8))),
    (list[int], "[7, 8]", [7, 8]),
    (Literal["yes", "nö"], '"nö"', "nö"),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (int | None, "null", None),
    (OBJECT, '{"n": 7}', {"n": 7}),
    ({"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": OBJECT}}, '{"n": 7}', {"n": 7}),
    ({"type": "json_object"}, '{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    ({"$defs": {"N": OBJECT}, "$ref": "#/$defs/N"}, '{"n": 7}', {"n": 7}),
]


@pytest.mark.parametrize(("asked", "answer", "value"), FORMS, ids=lambda one: str(one)[:20])
def test_every_form_is_held_to_and_read_back(asked: Any, answer: str, value: Any) -> None:
    llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, answer)])
    out = llm.generate(PROMPT, response_format=asked)
    assert (out.text, out.parsed) == (answer, value)


def test_text_asks_for_nothing() -> None:
    assert ResponseFormat.of({"type": "text"}) is None
    assert GenerationOptions(response_format={"type": "text"}, stop="x").stop == ("x",)
    assert Sample("", (), "eos").parsed is None


REFUSED: list[tuple[str, Any, str]] = [
    ("no type", 3, "expected a type, got "),
    ("a boolean", True, "expected a type, got "),
    ("a list", [1], "expected a type, got "),
    ("an instance", Path(), "expected a type, got "),
    ("a class of no schema", Thread, "is no structure"),
    ("a text, which pydantic would run", "[][0]", "expected a type, got "),
    ("a function, which pydantic would call", print, "expected a type, got "),
    ("a misspelled keyword", {"type": "object", "proprties": {}}, "did you mean 'properties'"),
    ("one within", {"type": "array", "items": {"maxLenght": 2}}, "did you mean 'maxLength'"),
    ("no keyword", {"answer": {"type": "string"}}, "without any of its keywords"),
    ("no schema", {"type": "json_schema"}, "expected a schema in the response_format"),
    (
        "no schema within",
        {"type": "json_schema", "json_schema": {"name": "x"}},
        "expected a schema in the response_format",
    ),
    ("not", {"not": {"minLength": 2}}, "keyword 'not': a grammar cannot exclude it"),
    ("a pattern", {"type": "string", "pattern": "(["}, "keyword 'pattern': .* ends too early"),
    ("a look ahead", {"type": "string", "pattern": "(?=a)b"}, "keyword 'pattern': .* a look around"),
    ("a type", {"type": "strin"}, "Invalid type: strin"),
    ("a reference", {"$ref": "#/nowhere"}, "keyword '.ref': '#/nowhere' names nothing"),
    ("nothing to choose", {"enum": []}, "Unsatisfiable"),
    ("bounds that exclude each other", {"type": "integer", "minimum": 3, "maximum": 2}, "no integer .* within"),
    ("unique items", {"type": "array", "uniqueItems": True}, "uniqueItems"),
    ("no JSON", {"const": object()}, "cannot be written as JSON"),
    ("no number", {"const": float("nan")}, "cannot be written as JSON"),
    ("a bound beyond all digits", {"type": "integer", "minimum": 1e20}, "no integer of up to 18 digits"),
    ("a value that is rounded", {"items": {"const": 2**53 + 1}}, "keyword 'const': .* beyond ±2"),
    ("endless nesting", {**OBJECT, "properties": {"n": {"$ref": "#"}}}, "property 'n' .* would be endless"),
]


@pytest.mark.parametrize(("asked", "message"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_what_cannot_be_held_to_is_refused_with_a_hint(asked: Any, message: str) -> None:
    llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, "1")])
    with pytest.raises(ConfigError, match=message) as caught:
        llm.generate(PROMPT, response_format=asked)
    assert caught.value.hint


def test_a_validator_may_refuse_what_the_schema_allows() -> None:
    out = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, '{"n": 8}')]).generate(PROMPT, response_format=Odd)
    assert out.text == '{"n": 8}'
    with pytest.raises(StructureError, match="even"):
        _ = out.parsed


def test_annotations_are_no_constraints() -> None:
    names = ["binary", "path", "password", "int32", "int64", "float", "double", "json-string", "colour"]
    for name in names:
        assert enforceable({"type": "string", "format": name}) == {"type": "string"}
    assert enforceable({"type": "array", "uniqueItems": False}) == {"type": "array"}
    said = {"title": "t", "description": "d", "examples": [{"format": "x"}], "default": {"format": "x"}, "x-own": 1}
    assert enforceable(said) == said
    properties = {"format": {"const": {"format": "x"}}, "uniqueItems": {"enum": [{"uniqueItems": False}]}}
    assert enforceable({"properties": properties, "required": ["format"]})["properties"] == properties


def closing(schema: dict[str, Any]) -> str:
    """A short answer."""
    known = vocabulary("byte_level_bpe")
    tokens = Grammars(known).compile(lark.of_schema(schema)).guide().closing
    return b"".join(known.surfaces[token] or b"" for token in tokens).decode()


def obj(*names: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "null"} for name in names}, "required": [*names], **more}


CLOSED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (obj("a"), obj("a", **CLOSED)),
        (obj("a", additionalProperties=True), obj("a", additionalProperties=True)),
        ({"type": "object"}, {"type": "object"}),
        (obj("a") | {"required": ["a", "b"]}, obj("a") | {"required": ["a", "b"]}),
        (
            {"items": obj("a"), "prefixItems": [obj("b")]},
            {"items": obj("a", **CLOSED), "prefixItems": [obj("b", **CLOSED)]},
        ),
        ({"anyOf": [obj("a"), obj("b")]}, {"anyOf": [obj("a", **CLOSED), obj("b", **CLOSED)]}),
        ({"allOf": [obj("a")]}, {"allOf": [obj("a", **CLOSED)]}),
        ({"allOf": [obj("a"), obj("b")]}, {"allOf": [obj("a"), obj("b")]}),
        (obj("a", anyOf=[obj("b"), obj("c")]), obj("a", anyOf=[obj("b"), obj("c")])),
        (
            {"$defs": {"A": obj("a"), "B": obj("b")}, "allOf": [{"$ref": "#/$defs/A"}, obj("c")]},
            {"$defs": {"A": obj("a"), "B": obj("b", **CLOSED)}, "allOf": [{"$ref": "#/$defs/A"}, obj("c")]},
        ),
        (
            {"$defs": {"A": obj("a"), "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/B", "properties": {"c": {}}},
            {"$defs": {"A": obj("a"), "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/B", "properties": {"c": {}}},
        ),
        ({"$defs": {"A": obj("a")}, "$ref": "#/$defs/A"}, {"$defs": {"A": obj("a", **CLOSED)}, "$ref": "#/$defs/A"}),
    ],
)
def test_objects_are_closed_where_that_forbids_nothing(given: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(given)
    assert enforceable(given) == expected
    assert json.dumps(given) == before
    if "items" not in given and "prefixItems" not in given:
        Draft202012Validator(given).validate(json.loads(closing(expected)))


def test_a_configuration_holds_a_structure(tmp_path: Path) -> None:
    file, folder = tmp_path / "ensemble.yaml", tmp_path / "member"
    for part in scripted(byte_level_bpe(), PROMPT, '{"n": 7}'):
        part.save_pretrained(folder)
    EnsembleConfig(members=[str(folder)], generation={"response_format": Model, "max_new_tokens": 40}).save(file)
    loaded = EnsembleConfig.load(file)
    assert loaded.generation.response_format == ResponseFormat.of(Model.model_json_schema())
    llm = EnsembleLLM.from_config(loaded)
    assert set(llm.generate(PROMPT).parsed) == {"n"}
    assert isinstance(llm.generate(PROMPT, response_format=Model).parsed, Model)
    assert llm.generate(PROMPT, response_format=None).parsed is None


def test_bounds_are_held() -> None:
    class Bounded(BaseModel):
        i: int = Field(gt=-7, le=2**40)
        f: float = Field(ge=0, lt=0.5)
        s: str = Field(min_length=2, max_length=3)
        m: int = Field(multiple_of=7)

    wild = '{"i": 99999999999999999999, "f": 3.5, "s": "abcdefg", "m": 8}'
    for seed in range(8):
        llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, wild, strength=4.0)])
        out = llm.generate(PROMPT, response_format=Bounded, temperature=1.0, seed=seed, max_new_tokens=60)
        assert isinstance(out.parsed, Bounded)
