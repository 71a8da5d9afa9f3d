"""Alternatives: exactly one of several, none of some, null beside others."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from deepen_llm.structure.charsets import CharSet
from deepen_llm.structure.disjoint import TYPES, apart, type_of, types, values_of
from deepen_llm.structure.languages import not_begun_by
from deepen_llm.structure.paths import Place, at
from deepen_llm.structure.regex import MANY, Anchor, PatternError, Repeat, Sequence, parse
from deepen_llm.structure.strings import conjoin

_SAID = ("title", "description", "default", "examples")
_OTHERWISE = "say what the answer may be instead"


def hold_nullable(schema: dict[str, Any]) -> None:
    """Write OpenAPI's ``nullable: true`` as an alternative, in place.

    Args:
        schema: A schema.
    """
    if schema.pop("nullable", False) is True:
        inner = {key: schema.pop(key) for key in list(schema) if key not in (*_SAID, "$defs", "definitions")}
        schema["anyOf"] = [inner, {"type": "null"}]


def hold_one_of(schema: dict[str, Any], place: Place, root: dict[str, Any]) -> None:
    """Write ``oneOf`` as ``anyOf``, in place, where no answer fits two of its schemas, or where they are made so.

    Args:
        schema: A schema.
        place: Where it stands.
        root: The whole schema.

    Raises:
        ConfigError: An answer may fit two of them, and they cannot be told apart.
    """
    discriminator = schema.pop("discriminator", None)
    key = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    if isinstance(key, str):
        _tag(schema, key, discriminator.get("mapping"), root)
    if not isinstance(schema.get("oneOf"), list):
        return
    options = schema["oneOf"]
    for index, one in enumerate(options):
        for other in range(index):
            if not (apart(one, options[other], root) or _part(options, other, index)):
                raise place.refusal(
                    "oneOf",
                    f"an answer may fit both {other} and {index} of its schemas",
                    "write anyOf, or give each a required property with a const of its own",
                )
    made = {"anyOf": schema.pop("oneOf")}
    if "anyOf" in schema:
        schema["allOf"] = [*schema.get("allOf", []), made]
    else:
        schema |= made


def _tag(schema: dict[str, Any], key: str, mapping: Any, root: dict[str, Any]) -> None:
    """Demand the property that tells alternatives apart, with the value that stands for each."""
    choice = "oneOf" if "oneOf" in schema else "anyOf"
    for index, option in enumerate(schema.get(choice) or ()):
        reference = option.get("$ref") if isinstance(option, dict) else None
        named = at(root, reference) if isinstance(reference, str) else option
        if not isinstance(named, dict) or key not in (named.get("properties") or {}):
            continue
        own = [tag for tag, target in (mapping or {}).items() if target == option or _same(target, reference)]
        if isinstance(reference, str) and not own:
            own = [unquote(reference.rsplit("/", 1)[-1])]
        property_ = named["properties"][key]
        tagged = isinstance(property_, dict) and {"const", "enum", "$ref", "anyOf", "allOf"} & set(property_)
        demand: dict[str, Any] = {"required": [key]}
        if not tagged and own:
            demand = {"properties": {key: {**property_, "enum": own}}, "required": [key]}
        if tagged and key in (named.get("required") or ()):
            continue
        if reference is None or tagged:
            named["required"] = list(dict.fromkeys([*(named.get("required") or ()), key]))
            named["properties"] |= demand.get("properties", {})
        else:
            schema[choice][index] = _merged(named, demand)


def _same(target: Any, reference: Any) -> bool:
    """Whether two references are the same but for characters that one of them has escaped."""
    return isinstance(target, str) and isinstance(reference, str) and unquote(target) == unquote(reference)


def _merged(named: dict[str, Any], demand: dict[str, Any]) -> dict[str, Any]:
    """A copy of an object's schema with one property's values told, its definition being used elsewhere too."""
    made: dict[str, Any] = json.loads(json.dumps(named))
    made["properties"] |= demand["properties"]
    made["required"] = list(dict.fromkeys([*(made.get("required") or ()), *demand["required"]]))
    return made


def _part(options: list[Any], one: int, other: int) -> bool:
    """Let two objects exclude each other, in place: each bars a property that the other demands."""
    pair = [options[one], options[other]]
    if not all(isinstance(option, dict) and "$ref" not in option for option in pair):
        return False
    demanded = [list(option.get("required") or ()) for option in pair]
    barred = [next((name for name in demanded[1 - i] if name not in demanded[i]), None) for i in (0, 1)]
    if None in barred:
        return False
    for option, name in zip(pair, barred, strict=True):
        option["properties"] = {**(option.get("properties") or {}), name: False}
    return True


def hold_not(schema: dict[str, Any], place: Place) -> None:
    """Write ``not`` as what is left, in place, where its schema tells types, values, a pattern or required names.

    Args:
        schema: A schema.
        place: Where it stands.

    Raises:
        ConfigError: It tells something else.
    """
    barred = schema.pop("not", False)
    plain = {key: value for key, value in barred.items() if key not in _SAID} if isinstance(barred, dict) else barred
    if plain in (False, {"not": {}}, {"not": True}):
        return
    if plain in (True, {}):
        schema["enum"] = []
        return
    keys = set(plain) if isinstance(plain, dict) else set()
    if keys == {"type"}:
        schema["type"] = _left(schema, plain["type"])
    elif keys in ({"const"}, {"enum"}, {"type", "const"}, {"type", "enum"}):
        _without(schema, [plain["const"]] if "const" in plain else plain["enum"], place)
    elif keys in ({"required"}, {"type", "required"}) and len(plain["required"]) == 1:
        schema["properties"] = {**(schema.get("properties") or {}), plain["required"][0]: False}
    elif keys in ({"pattern"}, {"type", "pattern"}) and schema.get("type") == "string":
        conjoin(schema, [_unlike(plain["pattern"], place)])
    else:
        raise place.refusal("not", "no grammar holds what it excludes", _OTHERWISE)


def _left(schema: dict[str, Any], barred: Any) -> list[str]:
    given = schema.get("type", list(TYPES))
    given = [given] if isinstance(given, str) else given
    barred = [barred] if isinstance(barred, str) else barred
    wide = {*barred, *(["integer"] if "number" in barred else [])}
    return [one for one in given if one not in wide]


def _without(schema: dict[str, Any], barred: list[Any], place: Place) -> None:
    known = {json.dumps(value, sort_keys=True) for value in barred}
    if (values := values_of(schema)) is not None:
        schema.pop("const", None)
        schema["enum"] = [json.loads(value) for value in values if value not in known]
    elif schema.get("type") == "string":
        for value in barred:
            if isinstance(value, str):
                conjoin(
                    schema, [not_begun_by(Sequence((*(CharSet(((ord(one),) * 2,)) for one in value), Anchor(False))))]
                )
    elif not {type_of(value) for value in barred} & types(schema):
        return
    else:
        raise place.refusal("not", "no grammar holds what it excludes", _OTHERWISE)


def _unlike(pattern: Any, place: Place) -> str:
    """The pattern of the strings that a pattern does not match."""
    try:
        _, node = parse(pattern)
        parts = node.parts if isinstance(node, Sequence) else (node,)
        before = () if parts[:1] == (Anchor(True),) else (Repeat(CharSet(negated=True), 0, MANY),)
        return not_begun_by(Sequence((*before, node)))
    except (PatternError, TypeError) as error:
        raise place.refusal("not", f"{pattern!r:.100} cannot be excluded: {error}", _OTHERWISE) from error
