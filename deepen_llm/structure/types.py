"""JSON schemas of types: each instance of the schema parses as the type.

Some of pydantic's schemas are wider than what the type accepts (``Decimal``, sets, dictionaries with keys other than
strings, dates, URLs, ...). `NarrowSchema` narrows them, or raises an error that names the type. The class has a method
for every kind of type, as pydantic's generator requires.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

from pydantic import PydanticInvalidForJsonSchema, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from deepen_llm.errors import ConfigError
from deepen_llm.structure.keys import names_of_keys
from deepen_llm.structure.narrowing import HINT, check_alias, demand_constants, readable, refusal, zones
from deepen_llm.structure.paths import resolve_pointer, subschemas
from deepen_llm.structure.scalar_types import ScalarSchema
from deepen_llm.structure.special_types import beyond, extra, known

_SCALARS: JsonSchemaValue = {"anyOf": [{"type": kind} for kind in ("string", "integer", "boolean", "null")]}
_BY_FUNCTION = "x-told-apart-by-a-function"
_MAILBOX = 60  # characters of an address, so that none of its parts is too long
_UNHASHABLE = frozenset(
    "list dict set typed-dict deque ordered-dict counter generator any json".split()  # noqa: SIM905 (shorter)
)


def schema_of(kind: Any) -> dict[str, Any]:
    """Make the schema of a type, so narrow that every instance parses as the type.

    The schema does not cover the user's own validators.

    Raises:
        ConfigError: The type, or a type inside it, is not supported.
    """
    root = TypeAdapter(kind).json_schema(schema_generator=NarrowSchema)
    for _, schema in subschemas(root):
        if schema.pop(_BY_FUNCTION, False):
            for option in schema["anyOf"]:
                demand_constants(resolve_pointer(root, option["$ref"]) if "$ref" in option else option)
    return root


class NarrowSchema(ScalarSchema):
    """Pydantic's generator of schemas, with narrower schemas of some types."""

    def json_schema(self, schema: core_schema.JsonSchema) -> JsonSchemaValue:
        """Raise: a grammar of JSON cannot describe a JSON document inside a text."""
        raise refusal("pydantic.Json", "it is a document inside a text; use the type itself")

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        """Require hashable items; parsing removes duplicates."""
        made = super().set_schema(schema)
        items = schema.get("items_schema")
        if items is None or items["type"] == "any":
            made["items"] = _SCALARS
        else:
            _check_hashable(items)
        if (schema.get("min_length") or 0) <= 1:
            made.pop("uniqueItems", None)
        return made

    frozenset_schema = set_schema

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """Restrict property names to those that parse as keys."""
        keys = schema.get("keys_schema")
        values = schema.get("values_schema")
        made: JsonSchemaValue = {"type": "object"}
        made["additionalProperties"] = True if values is None else self.generate_inner(values)
        names = {} if keys is None else names_of_keys(self.generate_inner(keys), keys["type"])
        if names:
            made["propertyNames"] = names
        self.update_with_validations(made, schema, self.ValidationsMapping.object)
        return made

    frozendict_schema = ordered_dict_schema = dict_schema

    def counter_schema(self, schema: Any) -> JsonSchemaValue:
        """Describe a dictionary of integers."""
        return {**self.dict_schema(schema), "additionalProperties": {"type": "integer"}}

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """Drop the variadic items of a tuple that has further items after them."""
        variadic, items = schema.get("variadic_item_index"), schema["items_schema"]
        if variadic is not None and variadic + 1 < len(items):
            return super().tuple_schema(core_schema.tuple_schema([*items[:variadic], *items[variadic + 1 :]]))
        return super().tuple_schema(schema)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Mark alternatives with a discriminator function, to require their constants."""
        made = super().tagged_union_schema(schema)
        if "discriminator" not in made:
            made["anyOf"] = made.pop("oneOf")
            made[_BY_FUNCTION] = True
        return made

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> JsonSchemaValue:
        """Raise: a class is no JSON value."""
        raise refusal(f"type[{getattr(schema['cls'], '__name__', schema['cls'])}]", "a class is no JSON value")

    def chain_schema(self, schema: core_schema.ChainSchema) -> JsonSchemaValue:
        """Describe the first step; scalars if the value must only be hashable."""
        for step in schema["steps"]:
            if step["type"] == "is-instance" and step["cls"] is Hashable:
                return dict(_SCALARS)
        return super().chain_schema(schema)

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """Keep the values that parse back from JSON."""
        return readable(super().literal_schema(schema), schema, f"Literal{list(schema['expected'])!r:.80}")

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Keep the values that parse back from JSON."""
        return readable(super().enum_schema(schema), schema, schema["cls"].__name__)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Drop the default, which has no effect on answers."""
        return self.generate_inner(schema["schema"])

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """Handle types that a function validates (`deepen_llm.structure.special_types`), and time zones."""
        function = (schema.get("function") or {}).get("function") if schema["type"].startswith("function-") else None
        if function is not None and (reason := beyond(function)) is not None:
            raise refusal(*reason)
        special = None if function is None else known(function)
        described = super().generate_inner(schema) if special is None else special
        if function is not None and (other := extra(function, described)) is not None:
            if isinstance(other, str):
                raise refusal(f"{other} of pydantic-extra-types", "which texts it accepts is unknown")
            described = other
        if "email" in str(described.get("format")):
            described = {"maxLength": _MAILBOX, **described}
        return {"enum": zones()} if described.get("format") == "zoneinfo" else described

    def model_fields_schema(self, schema: core_schema.ModelFieldsSchema) -> JsonSchemaValue:
        """Check the aliases of fields; name the field of an error."""
        for name, field in schema["fields"].items():
            check_alias(name, field)
        return self._fields(schema["fields"], lambda: super(NarrowSchema, self).model_fields_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """Name the field of an error."""
        return self._fields(schema["fields"], lambda: super(NarrowSchema, self).typed_dict_schema(schema))

    def dataclass_args_schema(self, schema: core_schema.DataclassArgsSchema) -> JsonSchemaValue:
        """Name the field of an error."""
        fields = {field["name"]: field for field in schema["fields"]}
        return self._fields(fields, lambda: super(NarrowSchema, self).dataclass_args_schema(schema))

    def _fields(self, fields: Any, make: Callable[[], JsonSchemaValue]) -> JsonSchemaValue:
        try:
            return make()
        except (ConfigError, PydanticInvalidForJsonSchema):
            for name, field in fields.items():
                try:
                    self.generate_inner(field)
                except (ConfigError, PydanticInvalidForJsonSchema) as error:  # noqa: PERF203 (one is on its way)
                    raise ConfigError(f"field {name!r}: {error.message}", hint=HINT) from error
            raise

    def field_is_present(self, field: Any) -> bool:
        """Leave out fields that are no arguments of the constructor."""
        return field.get("init") is not False and super().field_is_present(field)


def _check_hashable(schema: Any) -> None:
    """Raise for items of a set that cannot be hashed."""
    kind, inner = schema["type"], schema.get("schema")
    cls = schema.get("cls")
    unhashable = isinstance(cls, type) and not issubclass(cls, Enum) and cls.__hash__ is None
    if kind in _UNHASHABLE or (kind in ("model", "dataclass") and unhashable):
        raise refusal(f"a set of {getattr(cls, '__name__', kind)}", "its items cannot be hashed")
    if isinstance(inner, dict) and kind not in ("model", "dataclass"):
        _check_hashable(inner)
