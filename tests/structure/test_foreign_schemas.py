"""Schemas as zod, OpenAPI, LangChain and LlamaIndex write them: each answer is an instance."""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.errors import ConfigError
from deepen_llm.structure import ResponseFormat
from deepen_llm.structure.schema import enforceable
from deepen_llm.testing import scripted
from tests.structure.walks import answers, takes
from tests.tokenizers import byte_level_bpe

WALKS = 10
DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
ZOD_UUID = (
    r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    r"|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$"
)


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
LEAP = r"\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00"
DAYS = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|(?:02)-(?:0[1-9]|1\d|2[0-8])"
PATTERNS = {  # of zod 4's string formats, and others that people copy
    "email": EMAIL,
    "uuid": ZOD_UUID,
    "cuid": r"^[cC][^\s-]{8,}$",
    "cuid2": r"^[0-9a-z]+$",
    "ulid": r"^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}$",
    "xid": r"^[0-9a-vA-V]{20}$",
    "nanoid": r"^[a-zA-Z0-9_-]{21}$",
    "base64url": r"^[A-Za-z0-9_-]*$",
    "e164": r"^\+(?:[0-9]){6,14}[0-9]$",
    "cidrv4": rf"^({BYTE}\.){{3}}{BYTE}\/([0-9]|[1-2][0-9]|3[0-2])$",
    "date": rf"^(?:(?:{LEAP})-02-29|\d{{4}}-(?:{DAYS}))$",
    "starts": "^abc.*",
    "ends": ".*xyz$",
    "lowercase": "^[^A-Z]*$",
    "password": r"^(?=.*\d)(?=.*[a-z])(?=.*[A-Z])(?!.*\s).{8,}$",
    "not admin": "^(?!admin$|root$)[a-z]+$",
    "no dot at the end": r"^[a-z.]+(?<!\.)$",
    "slug": r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
    "hex": r"^#?([a-fA-F0-9]{6}|[a-fA-F0-9]{3})$",
    "escapes": r"^\/\-\u00e9\x41\t\$\.\<\>\!\@$",
    "named group": r"^(?<year>\d{4})-(?P<month>\d{2})$",
    "letters": r"^[^\d\W]+$",
    "lazy": r"^a+?b*?$",
    "file": r"^[\w./-]+\.py$",
}
ENDINGS = {PATTERNS["ends"]: "a é xyz", PATTERNS["file"]: "src/a-b.py"}  # at random these are hardly met
OPEN: dict[str, Any] = {"additionalProperties": {}}
ZOD: dict[str, dict[str, Any]] = {
    "record": obj(labels={"type": "object", "propertyNames": text(), "additionalProperties": text()}),
    "record of enum": {
        "type": "object",
        "propertyNames": text(enum=["a", "b"]),
        "additionalProperties": {"type": "number"},
        "required": ["a", "b"],
    },
    "record of format": {
        "type": "object",
        "propertyNames": text(format="uuid", pattern=ZOD_UUID),
        "additionalProperties": {"type": "number"},
    },
    "email": obj(to=text(format="email", pattern=EMAIL)),
    "date": obj(day=text(format="date", pattern=PATTERNS["date"])),
    "union": {
        "oneOf": [obj(type=text(const="a"), x={"type": "number"}), obj(type=text(const="b"), y={"type": "boolean"})]
    },
    "tuple": {"type": "array", "prefixItems": [text(), {"type": "number"}]},
    "variadic": {"type": "array", "prefixItems": [text()], "items": {"type": "number"}},
    "int": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
    "positive": {"type": "number", "exclusiveMinimum": 0},
    "nullable": {"anyOf": [text(), {"type": "null"}]},
    "optional": {"type": "object", "properties": {"a": text(default="x")}, "additionalProperties": False},
    "lazy": {
        "$defs": {"__schema0": obj(name=text(), sub={"type": "array", "items": {"$ref": "#/$defs/__schema0"}})},
        "$ref": "#/$defs/__schema0",
    },
    "intersection": {"allOf": [obj(a=text()) | OPEN, obj(b=text()) | OPEN]},
    "readonly": obj(a=text(readOnly=True, id="x", title="A", deprecated=True)),
    "literals": obj(a={"enum": ["x", 1, None, True]}, b={"type": "null"}, c={}, d={"const": 1, "type": "number"}),
    "never": {"type": "object", "properties": {"a": {"not": {}}, "b": text()}, "required": ["b"]},
}  # fmt: skip
OPENAPI: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "annotations": (
        obj(
            id={"type": "integer", "format": "int64", "example": 10, "readOnly": True},
            price={"type": "number", "format": "double", "exclusiveMinimum": True, "minimum": 0, "maximum": 9.5},
            name={"type": "string", "nullable": True, "maxLength": 3, "xml": {"name": "n"}},
            day={"type": "string", "format": "date", "example": "2020-01-01", "x-internal": True},
            file={"type": "string", "format": "byte"},
        )
        | {"example": {"id": 1}, "externalDocs": {"url": "https://x.y"}},
        obj(
            id={"type": "integer"},
            price={"type": "number", "exclusiveMinimum": 0, "maximum": 9.5},
            name={"type": ["string", "null"], "maxLength": 3},
            day={"type": "string", "format": "date"},
            file={"type": "string", "pattern": "^[A-Za-z0-9+/]*=*$"},
        ),
    ),
    "inheritance": (
        {
            "$defs": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": text()}}},
            "allOf": [{"$ref": "#/$defs/Pet"}, {"type": "object", "properties": {"bark": {"type": "boolean"}}}],
        },
        {"type": "object", "required": ["name"], "properties": {"name": text(), "bark": {"type": "boolean"}}},
    ),
}


def valid(asked: dict[str, Any], meant: dict[str, Any]) -> None:
    found = list(answers(enforceable(asked), WALKS))
    assert found
    judge = Draft202012Validator(meant, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for one in found:
        judge.validate(json.loads(one))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_strings_match_the_patterns_that_people_write(pattern: str) -> None:
    made = enforceable(text(pattern=pattern))
    found = [json.loads(one) for one in answers(made, WALKS)]
    assert found or takes(made, json.dumps(ENDINGS[pattern], ensure_ascii=False))
    for one in found:
        assert re.search(pattern.replace("(?<year>", "(?P<year>"), one)
        if pattern == EMAIL:
            assert not one.startswith(".")
            assert ".." not in one


@pytest.mark.parametrize("asked", ZOD.values(), ids=ZOD)
def test_what_zod_writes(asked: dict[str, Any]) -> None:
    valid({**DRAFT, **asked}, asked)


def test_what_zod_reads_is_a_whole_tuple() -> None:
    for one in answers(enforceable(ZOD["tuple"]), WALKS):
        assert len(json.loads(one)) == 2


@pytest.mark.parametrize(("asked", "meant"), OPENAPI.values(), ids=OPENAPI)
def test_what_openapi_writes(asked: dict[str, Any], meant: dict[str, Any]) -> None:
    valid(asked, meant)


class Item(BaseModel):
    """An item."""

    name: str = Field(description="Its name", json_schema_extra={"example": "Ada"})
    size: Annotated[float, Field(gt=0, le=10)] | None = None
    parts: list["Item"] = Field(default_factory=list, max_length=2)
    where: int | str = 0


def test_what_langchain_writes_of_a_model() -> None:
    convert = pytest.importorskip("langchain_core.utils.function_calling").convert_to_json_schema
    for one in answers(enforceable(convert(Item)), WALKS):
        Item.model_validate_json(one)


def test_what_llamaindex_writes_of_a_function() -> None:
    tool = pytest.importorskip("llama_index.core.tools").FunctionTool

    def order(name: str, count: int = 1, tags: list[str] | None = None) -> str:
        """Order something."""
        return name

    asked = tool.from_defaults(order).metadata.get_parameters_dict()
    for one in answers(enforceable(asked), WALKS):
        assert isinstance(order(**TypeAdapter(dict[str, Any]).validate_json(one)), str)


PROBES: list[tuple[Any, Callable[[Any], bool]]] = [
    (obj(**{'a"\n\\ü': {"type": "null"}, "😀": {"type": "null"}}), lambda value: len(value) == 2),
    ({"enum": ['"', "\n", "é", None, 1, 1.5, True]}, lambda value: value in ['"', "\n", "é", None, 1, 1.5, True]),
    ({"type": "object", "properties": {"a": True, "b": False}, "required": ["a"]}, lambda value: [*value] == ["a"]),
    (obj(**{f"customer_field_number_{i:03}": {"type": "null"} for i in range(15)}), lambda value: len(value) == 15),
    ({"type": "object", "properties": {}}, lambda value: value == {}),
    ({"type": ["string", "null"], "maxLength": 2}, lambda value: value is None or len(value) <= 2),
]


@pytest.mark.parametrize(("asked", "right"), PROBES, ids=range(len(PROBES)))
def test_names_and_values_of_all_kinds(asked: dict[str, Any], right: Callable[[Any], bool]) -> None:
    found = list(answers(enforceable(asked), WALKS))
    assert found
    assert all(right(json.loads(one)) for one in found)


def test_a_long_whole_number_is_read_whatever_its_length() -> None:
    form = ResponseFormat({})
    assert form.read("9" * 9000) == 10**9000 - 1
    assert form.read("-1" + "0" * 5000) == -(10**5000)


QUESTION = [{"role": "user", "content": "Describe a cat as JSON."}]


class Priced(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    id: Annotated[str, Field(pattern=r"^(?!00)\d{2}-[a-z]+$")]
    rate: float = Field(gt=0, le=1e-3, json_schema_extra={"example": 0.001})
    colors: dict[Annotated[int, Field(ge=0)], bool]


def test_the_specialists_answer_in_schemas_that_were_refused_or_not_held() -> None:
    """Cases 3, 6, 9 and 10 from end to end."""
    llm = EnsembleLLM.from_pretrained(specialists.paths(), device="cpu")
    rate = {"type": "object", "properties": {"lr": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}}}
    for room in (12, 24):
        made = llm.chat(QUESTION, response_format={**rate, "required": ["lr"]}, max_new_tokens=room).parsed
        assert 0 < made["lr"] <= 0.001
    assert isinstance(llm.chat(QUESTION, response_format=Priced, max_new_tokens=60).parsed, Priced)
    labeled = llm.chat(QUESTION, response_format=ZOD["record"], max_new_tokens=32).parsed
    assert isinstance(labeled["labels"], dict)


def test_a_schema_is_refused_before_any_model_is_asked() -> None:
    llm = EnsembleLLM([scripted(byte_level_bpe(), "x", "1")])
    asked = obj(to=text(pattern=r"^(a)\1$"))
    with pytest.raises(ConfigError, match=r"property 'to' \(#/properties/to\), keyword 'pattern'.*backreference"):
        llm.generate("x", response_format=asked)
