"""Every keyword of JSON Schema: each answer is an instance of the schema as it was given, or the schema is refused."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validators  # type: ignore[import-untyped]
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

from deepen_llm.errors import ConfigError
from deepen_llm.structure.keywords import TABLE, Treatment, misspelled
from deepen_llm.structure.schema import enforceable
from tests.structure.walks import answers, takes

WALKS = 8


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required]}


N, S, I = {"type": "null"}, {"type": "string"}, {"type": "integer"}  # noqa: E741
ABC = obj(a=N, b=N, c=N)
CAT = obj("kind", kind={"const": "cat"}, lives=I)
DOG = obj("kind", kind={"const": "dog"}, name=S)

HELD: list[tuple[dict[str, Any], str]] = [  # a schema, and keywords that it shows
    ({"type": ["integer", "null"]}, "type"),
    ({"type": "string", "enum": ["é", 'a"b', "\\", "\u2028", "x\x7f"]}, "enum"),
    ({"enum": [1, True, None, 1.5, "1", [], {}, {"a": [1, {"b": None}]}, -0.25, 1e-7, 1e20]}, "enum"),
    ({"const": None}, "const"),
    ({"const": {"a": [1, "x"]}}, "const"),
    ({"$comment": "c", "allOf": [{"type": "string", "minLength": 2}, {"maxLength": 3}]}, "allOf $comment"),
    ({"allOf": [obj("a", a=I), obj("b", b=S)]}, "allOf"),
    ({"anyOf": [S, {"type": "integer", "minimum": 3}]}, "anyOf"),
    ({"oneOf": [S, I]}, "oneOf"),
    ({"oneOf": [CAT, DOG]}, "oneOf"),
    ({"$defs": {"C": CAT, "D": DOG}, "oneOf": [{"$ref": "#/$defs/C"}, {"$ref": "#/$defs/D"}]}, "oneOf $ref $defs"),
    ({**obj(a=I, b=I), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "oneOf"),
    ({"oneOf": [{"enum": ["a", "b"]}, {"const": "c"}, N, {"type": "array", "items": I}]}, "oneOf"),
    ({"not": {"type": "string"}, "type": ["string", "integer"]}, "not"),
    ({"type": "string", "enum": ["a", "b"], "not": {"const": "a"}}, "not"),
    ({"type": "string", "maxLength": 4, "not": {"enum": ["", "0"]}}, "not"),
    ({"type": "string", "pattern": "^[a-z]{1,3}$", "not": {"pattern": "^a"}}, "not"),
    ({**obj(a=I, b=I), "not": {"required": ["a"]}}, "not"),
    ({**obj("a", a=I), "not": {}} | {"not": False}, "not"),
    ({"definitions": {"A": I}, "$ref": "#/definitions/A"}, "definitions $ref"),
    ({"$defs": {"a/b c": I}, "items": {"$ref": "#/$defs/a~1b%20c"}, "type": "array"}, "$ref items"),
    ({"$defs": {"Page[Ü]": I}, "items": {"$ref": "#/$defs/Page[Ü]"}, "type": "array"}, "$ref items"),
    ({"$defs": {"A": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"}, "$anchor"),
    ({"$id": "https://x.y/s.json", "$defs": {"A": I}, "$ref": "https://x.y/s.json#/$defs/A"}, "$id"),
    (
        {"$defs": {"A": {"$id": "https://x.y/a", **I}}, "type": "array", "items": {"$ref": "https://x.y/a"}},
        "$id items",
    ),
    ({"$dynamicAnchor": "n", **obj("v", v=I, c={"type": "array", "items": {"$dynamicRef": "#n"}})}, "$dynamicAnchor"),
    ({"$dynamicAnchor": "n", **obj("v", v=I, c={"type": "array", "items": {"$dynamicRef": "#n"}})}, "$dynamicRef"),
    ({"$recursiveAnchor": True, **obj("v", v=I, c={"$recursiveRef": "#"})}, "$recursiveRef $recursiveAnchor"),
    (obj("a", a=I, b=S), "properties required"),
    ({**obj("a", a=I), "additionalProperties": {"type": "boolean"}}, "additionalProperties"),
    ({"type": "object", "patternProperties": {"^x-": I, "^y-": S}, "additionalProperties": False}, "patternProperties"),
    ({"type": "object", "propertyNames": S, "additionalProperties": I}, "propertyNames"),
    ({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": I}, "propertyNames"),
    ({"type": "object", "propertyNames": {"pattern": "^[a-z]{2}$"}, "additionalProperties": I}, "propertyNames"),
    ({"type": "object", "propertyNames": {"format": "uuid"}, "additionalProperties": I}, "propertyNames"),
    ({"type": "object", "propertyNames": {"minLength": 2, "maxLength": 3}}, "propertyNames"),
    ({**obj(ab=I, c=I), "propertyNames": {"pattern": "^..$"}}, "propertyNames"),
    ({"type": "object", "propertyNames": False}, "propertyNames"),
    ({"$defs": {"K": {"enum": ["a", "b"]}}, "type": "object", "propertyNames": {"$ref": "#/$defs/K"}}, "propertyNames"),
    ({**ABC, "minProperties": 2}, "minProperties"),
    ({**ABC, "maxProperties": 1}, "maxProperties"),
    ({**ABC, "minProperties": 1, "maxProperties": 2, "required": ["b"]}, "minProperties maxProperties"),
    ({"type": "object", "minProperties": 1, "maxProperties": 2}, "minProperties maxProperties"),
    ({**ABC, "dependentRequired": {"a": ["b"], "b": ["c"]}}, "dependentRequired"),
    ({**obj(a=I), "dependentSchemas": {"a": obj("b", b=S)}}, "dependentSchemas"),
    ({**obj(a=I, b=N), "dependencies": {"a": ["b"]}}, "dependencies"),
    ({**obj("a", a=I), "unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"type": "object", "allOf": [obj("a", a=I), obj(b=S)], "unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"type": "array", "prefixItems": [S], "unevaluatedItems": False}, "unevaluatedItems prefixItems"),
    ({"type": "array", "prefixItems": [S, I], "items": False, "minItems": 1}, "prefixItems items minItems"),
    ({"type": "array", "prefixItems": [S, I]}, "prefixItems"),
    ({"type": "array", "items": False}, "items"),
    ({"type": "array", "items": I, "minItems": 2, "maxItems": 3.0}, "minItems maxItems"),
    ({"type": "array", "items": {"type": ["integer", "string"]}, "contains": S, "minContains": 2}, "contains"),
    ({"type": "array", "items": I, "contains": {"const": 7}}, "contains minContains"),
    ({"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b", "c"]}, "minItems": 2}, "uniqueItems"),
    ({"type": "array", "uniqueItems": True, "items": I, "maxItems": 1}, "uniqueItems"),
    ({"type": "array", "uniqueItems": False, "items": I}, "uniqueItems"),
    ({"type": "string", "minLength": 2, "maxLength": 5}, "minLength maxLength"),
    ({"type": "integer", "minimum": 0.5, "exclusiveMaximum": 7}, "minimum exclusiveMaximum"),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}, "exclusiveMinimum maximum"),
    ({"type": "number", "minimum": 0, "maximum": 1e308}, "maximum"),
    ({"type": "integer", "multipleOf": 7, "minimum": -50}, "multipleOf"),
    ({"type": "number", "multipleOf": 0.5, "minimum": -50, "maximum": 50}, "multipleOf"),
    ({"title": "t", "description": "d", "default": 1, "examples": ["x"], **I}, "title description"),
    ({"readOnly": True, "writeOnly": False, "default": 3, "examples": [1], **I}, "default examples"),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "readOnly": True, **I}, "$schema readOnly"),
    ({"$vocabulary": {}, "writeOnly": True, "deprecated": False, **I}, "$vocabulary writeOnly deprecated"),
    ({**S, "contentEncoding": "base64", "contentMediaType": "a/b", "contentSchema": I}, "contentEncoding"),
    ({**S, "contentMediaType": "a/b", "contentSchema": I}, "contentMediaType contentSchema"),
    ({"id": "x", "example": 3, "xml": {}, "externalDocs": {}, "x-order": 1, **I}, "id example xml externalDocs"),
    *(
        ({"type": "string", "format": form}, "format")
        for form in (
            "date", "date-time", "time", "duration", "email", "idn-email", "hostname", "ipv4", "ipv6", "uri", "iri",
            "uri-reference", "uuid", "json-pointer", "relative-json-pointer", "regex", "colour", "password", "int32",
        )
    ),
]  # fmt: skip
OTHER_DRAFTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [  # as written, and the same in draft 2020-12
    (
        {"type": "array", "items": [S, I], "additionalItems": N},
        {"type": "array", "prefixItems": [S, I], "items": N},
        "additionalItems",
    ),
    (
        {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1e-7},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-7},
        "exclusiveMinimum",
    ),
    ({"type": "integer", "nullable": True}, {"type": ["integer", "null"]}, "nullable"),
    ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}, "nullable"),
    (
        {
            "$defs": {"Cat": obj("kind", kind=S, lives=I), "D": obj(kind=S, name=S)},
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/D"}],
            "discriminator": {"propertyName": "kind", "mapping": {"dog": "#/$defs/D"}},
        },
        {"oneOf": [obj("kind", kind={"const": "Cat"}, lives=I), obj("kind", kind={"const": "dog"}, name=S)]},
        "discriminator",
    ),
]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (obj(a={"if": I, "then": I}), "property 'a' (#/properties/a), keyword 'if': a grammar cannot enforce cond", "if"),
    ({**I, "then": I}, "the schema, keyword 'then'", "then"),
    ({"if": I, "else": I}, "keyword 'if'", "else"),
    (obj(a={"not": obj(b=I)}), "property 'a' (#/properties/a), keyword 'not'", "not"),
    ({"oneOf": [S, {"type": "string", "minLength": 3}]}, "keyword 'oneOf': an answer may fit both 0 and 1", "oneOf"),
    (obj(tags={"type": "array", "items": S, "uniqueItems": True}), "property 'tags' (#/properties/tags), keyword", ""),
    ({"type": "array", "contains": I, "maxContains": 2}, "keyword 'maxContains'", "maxContains"),
    ({"type": "object", "minProperties": 2}, "keyword 'minProperties': names without a list", "minProperties"),
    (obj(to={**S, "pattern": r"^(a)\1$"}), "property 'to' (#/properties/to), keyword 'pattern'", "pattern"),
    (obj(to={**S, "pattern": "^a{,3}$"}), "{,3} without a number before the comma", "pattern"),
    (obj(to={**S, "pattern": "a(?=b)c"}), "'a(?=b)c' is not supported: a look around", "pattern"),
    ({"$ref": "https://example.com/s.json"}, "keyword '$ref': 'https://example.com/s.json' leads out", "$ref"),
    ({"$ref": "#/$defs/a"}, "names nothing in the schema", "$ref"),
    ({"$ref": "#"}, "every answer would be endless", "$ref"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "endless", "$ref"),
    ({"$defs": {"a": obj("a", a={"$ref": "#/$defs/a"})}, **obj("b", b={"$ref": "#/$defs/a"})}, "endless", ""),
    (obj("n", n={**I, "minimum": 3, "maximum": 2}), "property 'n' (#/properties/n), keyword 'maximum'", ""),
    (obj("n", n={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0}), "property 'n'", ""),
    (obj("n", n={"type": "number", "minimum": 1e16}), "no number within ±10^15 lies within minimum=1", ""),
    ({"type": "number", "exclusiveMinimum": 1e-300, "maximum": 1e-200}, "number of at least 10^-30 in size", ""),
    ({"type": "number", "minimum": -1e-200, "exclusiveMaximum": 0}, "no number of at least 10^-30 in size, nor 0,", ""),
    ({"type": "number", "minimum": 3, "maximum": 2}, "'maximum': no number lies within minimum=3 and maximum=2", ""),
    (
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": math.nextafter(1, 2)},
        "no double-precision number lies within exclusiveMinimum=1 and exclusiveMaximum=1.0000000000000002",
        "",
    ),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "keyword 'maxLength': 2 is below minLength=3", ""),
    ({"type": "string", "minLength": -1}, "keyword 'minLength': expected a whole number of at least 0, got -1", ""),
    (obj("e", e={"enum": []}), "property 'e' (#/properties/e)", ""),
    (obj("e", e={**S, "pattern": "^a$", "minLength": 2}), "property 'e' (#/properties/e)", ""),
    (obj("e", e={"const": 2**60}), "property 'e' (#/properties/e), keyword 'const'", ""),
    (obj("e", e=False), "required property 'e' is unsatisfiable", ""),
    (obj(e={"type": "strin"}), "property 'e' (#/properties/e)", ""),
    (obj(e={"type": "object", "required": "a"}), "property 'e' (#/properties/e), keyword 'required'", ""),
    (obj(e={"type": "string", "required": True}) | {"anyOf": [{"type": "x"}]}, "it cannot be compiled", ""),
    ({"type": "number", "multipleOf": 0}, "keyword 'multipleOf': expected a number above 0, got 0", ""),
    ({"anyOf": [obj(a=I)], "type": "object", "unevaluatedProperties": False}, "keyword 'unevaluatedProperties'", ""),
    ({"type": "object", "propertyNames": {"type": "integer"}}, "keyword 'propertyNames'", ""),
    (obj(a={"$ref": "#/properties/b"}, b={"$ref": "#/properties/a"}), "every answer would be endless", ""),
]  # fmt: skip


def checked(asked: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(asked, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("asked", [one for one, _ in HELD], ids=lambda one: json.dumps(one)[:60])
def test_every_answer_is_an_instance_of_the_schema_as_given(asked: dict[str, Any]) -> None:
    before = json.dumps(asked)
    made = enforceable(asked)
    assert json.dumps(asked) == before
    draft = Draft202012Validator
    if "dependencies" in asked or "$recursiveRef" in before or "$schema" in asked:
        draft = validators.validator_for({"$schema": "https://json-schema.org/draft/2019-09/schema"})
        draft = validators.extend(draft, {"dependencies": validators.Draft7Validator.VALIDATORS["dependencies"]})
    judge = draft(asked, format_checker=Draft202012Validator.FORMAT_CHECKER)
    found = list(answers(made, WALKS))
    assert found
    for text in found:
        judge.validate(json.loads(text))


@pytest.mark.parametrize(("asked", "meant"), [one[:2] for one in OTHER_DRAFTS], ids=[one[2] for one in OTHER_DRAFTS])
def test_other_drafts_and_openapi_mean_what_they_mean(asked: dict[str, Any], meant: dict[str, Any]) -> None:
    found = list(answers(enforceable(asked), WALKS))
    assert found
    for text in found:
        checked(meant).validate(json.loads(text))


@pytest.mark.parametrize(("asked", "message"), [one[:2] for one in REFUSED], ids=[one[1][:50] for one in REFUSED])
def test_what_no_grammar_holds_is_refused_with_its_place_and_keyword(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        enforceable(asked)
    assert caught.value.hint


def test_every_keyword_of_the_standard_is_in_the_table_and_tried_here() -> None:
    base = "https://json-schema.org/draft/2020-12/meta/"
    parts = ("core", "applicator", "unevaluated", "validation", "format-annotation", "content", "meta-data")
    standard = {key for part in parts for key in REGISTRY.contents(base + part)["properties"]}
    assert standard <= set(TABLE)
    shown = {key for _, keys in HELD for key in keys.split()}
    shown |= {one[2] for one in OTHER_DRAFTS} | {one[2] for one in REFUSED}
    assert set(TABLE) <= shown


@pytest.mark.parametrize("asked", [one for one, _ in HELD], ids=lambda one: json.dumps(one)[:60])
def test_what_comes_out_may_be_given_again(asked: dict[str, Any]) -> None:
    made = enforceable(asked)
    again = enforceable(made)
    for text in list(answers(again, 3)):
        assert takes(made, text)


@pytest.mark.parametrize("bound", [0.1, 0.01, 0.001, 1e-7, 1e-25, 3, 1e20, 1e308])
def test_zero_never_passes_an_exclusive_bound(bound: float) -> None:
    made = enforceable({"type": "number", "exclusiveMinimum": 0, "maximum": bound})
    for zero in ("0", "-0", "0.0", "0.000", "0e5", "-1", "0." + "0" * 400 + "1"):
        assert not takes(made, zero)
    found = [json.loads(text) for text in answers(made, 20)]
    assert found
    assert all(0 < value <= bound for value in found)
    mirrored = enforceable({"type": "number", "exclusiveMaximum": 0, "minimum": -bound})
    assert all(-bound <= json.loads(text) < 0 for text in answers(mirrored, 20))


def test_no_decimal_rounds_past_an_excluded_bound() -> None:
    made = enforceable({"type": "number", "exclusiveMaximum": 0.5, "minimum": 0.1})
    assert takes(made, "0.4999")
    assert not takes(made, "0." + "49" + "9" * 40)  # reads as 0.5
    assert not takes(made, "0.0" + "9" * 40)


def test_integers_are_never_too_long_to_be_read() -> None:
    for asked in (I, {"type": "integer", "minimum": 5}, {"type": "integer", "maximum": 2**53 + 1}):
        made = enforceable(asked)
        assert not takes(made, "9" * 20)
        assert takes(made, "12345678")
    assert not takes(enforceable({"type": "integer", "maximum": 2**53 + 1}), str(2**53 + 2))


def test_only_what_must_be_a_misspelled_keyword_is_refused() -> None:
    own = """example readonly ReadOnly titles defaults Example comment x-minLenght ~standard placeholder order unit
        propertyOrder enumNames errorMessage markdownDescription nullable xml externalDocs discriminator instanceof
        label options name value optional deprecationMessage format-hint version notes tags summary examples"""
    for key in own.split():
        assert misspelled(key) is None, key
    near = {
        "minLenght": "minLength", "requred": "required", "propertys": "properties", "min_length": "minLength",
        "additionalproperties": "additionalProperties", "anyof": "anyOf", "enums": "enum", "item": "items",
        "max_items": "maxItems", "patern": "pattern", "ref": "$ref", "exclusive_minimum": "exclusiveMinimum",
    }  # fmt: skip
    for key, keyword in near.items():
        assert misspelled(key) == keyword
    with pytest.raises(ConfigError, match=r"property 'a' .*unknown keyword 'min_length'.*did you mean 'minLength'"):
        enforceable(obj(a={"type": "string", "min_length": 2}))
    assert enforceable({"type": "integer", "example": 10})["example"] == 10


def test_the_documentation_has_every_keyword_in_its_row() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "structure.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (enforced|rewritten|annotation|refused) \| (.*?) \|", guide, re.MULTILINE))
    for treatment in Treatment:
        told = set(re.findall(r"`([^`]+)`", rows[treatment.name.lower()]))
        assert told == {key for key in TABLE if TABLE[key] is treatment}, treatment
