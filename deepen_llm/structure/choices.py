"""Rewriting of alternatives: ``oneOf``, ``not``, ``nullable`` and ``discriminator``."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from deepen_llm.structure.assertions import add_alternatives, type_names
from deepen_llm.structure.charsets import CharSet
from deepen_llm.structure.disjoint import disjoint, type_of, types, values_of
from deepen_llm.structure.languages import complement_of_prefix
from deepen_llm.structure.nodes import ANY, MANY, Anchor, Repeat, Sequence, parts_of
from deepen_llm.structure.paths import Location, resolve_pointer
from deepen_llm.structure.regex import PatternError, parse
from deepen_llm.structure.strings import conjoin

_ANNOTATIONS = ("title", "description", "default", "examples")
_OTHERWISE = "describe the allowed answers instead"


def rewrite_nullable(schema: dict[str, Any]) -> None:
    """Rewrite OpenAPI's ``nullable: true`` in place, as an alternative."""
    if schema.pop("nullable", False) is True:
        inner = {key: schema.pop(key) for key in list(schema) if key not in (*_ANNOTATIONS, "$defs", "definitions")}
        schema["anyOf"] = [inner, {"type": "null"}]


def rewrite_one_of(schema: dict[str, Any], location: Location, root: dict[str, Any]) -> None:
    """Rewrite ``oneOf`` in place as ``anyOf``, if its schemas are disjoint or can be made disjoint.

    Raises:
        ConfigError: An answer may fit two of them.
    """
    discriminator = schema.pop("discriminator", None)
    key = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    if isinstance(key, str):
        _tag(schema, key, discriminator.get("mapping"), root)
    if not isinstance(schema.get("oneOf"), list):
        return
    options = schema["oneOf"]
    for index, option in enumerate(options):
        for other in range(index):
            if not (disjoint(option, options[other], root) or _make_disjoint(options, other, index)):
                raise location.refusal(
                    "oneOf",
                    f"an answer may fit both {other} and {index} of its schemas",
                    "write anyOf, or give each a required property with a const of its own",
                )
    add_alternatives(schema, schema.pop("oneOf"))


def _tag(schema: dict[str, Any], key: str, mapping: Any, root: dict[str, Any]) -> None:
    """Require the discriminator property in each alternative, with the value of that alternative."""
    choice = "oneOf" if "oneOf" in schema else "anyOf"
    for index, option in enumerate(schema.get(choice) or ()):
        reference = option.get("$ref") if isinstance(option, dict) else None
        named = resolve_pointer(root, reference) if isinstance(reference, str) else option
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
    """Whether two references are the same after unescaping."""
    return isinstance(target, str) and isinstance(reference, str) and unquote(target) == unquote(reference)


def _merged(named: dict[str, Any], restriction: dict[str, Any]) -> dict[str, Any]:
    """Copy an object's schema and restrict one property, since other schemas may refer to the original."""
    merged: dict[str, Any] = json.loads(json.dumps(named))
    merged["properties"] |= restriction["properties"]
    merged["required"] = list(dict.fromkeys([*(merged.get("required") or ()), *restriction["required"]]))
    return merged


def _make_disjoint(options: list[Any], first: int, second: int) -> bool:
    """Make two object schemas disjoint, in place: each forbids a property that the other requires."""
    pair = [options[first], options[second]]
    if not all(isinstance(option, dict) and "$ref" not in option for option in pair):
        return False
    required = [list(option.get("required") or ()) for option in pair]
    forbidden = [next((name for name in required[1 - i] if name not in required[i]), None) for i in (0, 1)]
    if None in forbidden:
        return False
    for option, name in zip(pair, forbidden, strict=True):
        option["properties"] = {**(option.get("properties") or {}), name: False}
    return True


def rewrite_not(schema: dict[str, Any], location: Location) -> None:
    """Rewrite ``not`` in place as what remains, if it excludes types, values, a pattern or a required name.

    Raises:
        ConfigError: It excludes anything else.
    """
    excluded = schema.pop("not", False)
    plain = (
        {key: value for key, value in excluded.items() if key not in _ANNOTATIONS}
        if isinstance(excluded, dict)
        else excluded
    )
    if plain in (False, {"not": {}}, {"not": True}):
        return
    if plain in (True, {}):
        schema["enum"] = []
        return
    keys = set(plain) if isinstance(plain, dict) else set()
    if keys == {"type"}:
        excluded_types = {*type_names(plain), *(["integer"] if "number" in type_names(plain) else [])}
        schema["type"] = [kind for kind in type_names(schema) if kind not in excluded_types]
    elif keys in ({"const"}, {"enum"}, {"type", "const"}, {"type", "enum"}):
        _without(schema, [plain["const"]] if "const" in plain else plain["enum"], location)
    elif keys in ({"required"}, {"type", "required"}) and len(plain["required"]) == 1:
        schema["properties"] = {**(schema.get("properties") or {}), plain["required"][0]: False}
    elif keys in ({"pattern"}, {"type", "pattern"}) and schema.get("type") == "string":
        conjoin(schema, [_unlike(plain["pattern"], location)])
    else:
        raise location.refusal("not", "a grammar cannot exclude it", _OTHERWISE)


def _without(schema: dict[str, Any], excluded: list[Any], location: Location) -> None:
    known = {json.dumps(value, sort_keys=True) for value in excluded}
    if (values := values_of(schema)) is not None:
        schema.pop("const", None)
        schema["enum"] = [json.loads(value) for value in values if value not in known]
    elif schema.get("type") == "string":
        for value in excluded:
            if isinstance(value, str):
                conjoin(
                    schema,
                    [
                        complement_of_prefix(
                            Sequence((*(CharSet(((ord(character),) * 2,)) for character in value), Anchor(False)))
                        )
                    ],
                )
    elif not {type_of(value) for value in excluded} & types(schema):
        return
    else:
        raise location.refusal("not", "a grammar cannot exclude it", _OTHERWISE)


def _unlike(pattern: Any, location: Location) -> str:
    """The pattern of all strings that a pattern does not match."""
    try:
        _, node = parse(pattern)
        before = () if parts_of(node)[:1] == (Anchor(True),) else (Repeat(ANY, 0, MANY),)
        return complement_of_prefix(Sequence((*before, node)))
    except (PatternError, TypeError) as error:
        raise location.refusal("not", f"{pattern!r:.100} cannot be excluded: {error}", _OTHERWISE) from error
