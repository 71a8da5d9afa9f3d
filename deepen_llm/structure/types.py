"""JSON schemas of types: each instance of the schema parses as the type.

Some of pydantic's schemas are wider than what the type accepts (``Decimal``, sets, dictionaries with keys other than
strings, dates, URLs, ...). `NarrowSchema` narrows them, or raises an error that names the type. The class has a method
for every kind of type, as pydantic's generator requires.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

from pydantic import PydanticInvalidForJsonSchema, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from deepen_llm.errors import ConfigError
from deepen_llm.structure import formats, temporal
from deepen_llm.structure.decimals import decimal
from deepen_llm.structure.keys import names_of_keys
from deepen_llm.structure.narrowing import (
    BOUNDS,
    HINT,
    check_alias,
    demand_constants,
    finite,
    flags_of,
    readable,
    refusal,
    zones,
)
from deepen_llm.structure.paths import resolve_pointer, subschemas
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

    Args:
        kind: A type that pydantic knows.

    Raises:
        ConfigError: The type, or a type inside it, is not supported.
    """
    root = TypeAdapter(kind).json_schema(schema_generator=NarrowSchema)
    for _, schema in subschemas(root):
        if schema.pop(_BY_FUNCTION, False):
            for option in schema["anyOf"]:
                demand_constants(resolve_pointer(root, option["$ref"]) if "$ref" in option else option)
    return root


class NarrowSchema(GenerateJsonSchema):
    """Pydantic's generator of schemas, with narrower schemas of some types."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own attribute)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._configurations: list[Any] = []

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Drop infinite bounds."""
        return super().int_schema(finite(schema))

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """Bound the number if the type refuses infinity, to which large decimals round."""
        made = super().float_schema(finite(schema))
        bounded = any(key in made for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
        below = schema.get("lt") == math.inf or schema.get("gt") == -math.inf
        if schema.get("allow_inf_nan", self._configured("allow_inf_nan")) is False or below:
            made |= {} if bounded else {"minimum": -1e15, "maximum": 1e15}
        return made

    def _configured(self, key: str) -> Any:
        """Look up an option in the innermost configuration; None if it is not set."""
        return self._configurations[-1].get(key) if self._configurations else None

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Limit the digits; allow a text if the type has no bounds."""
        return decimal(dict(schema))

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Apply the configured lengths, white space stripping, and the meaning of patterns in their engine."""
        pattern = schema.get("pattern")
        made = super().str_schema(schema)
        flags = flags_of(pattern) if isinstance(pattern, re.Pattern) else ""
        begins = isinstance(pattern, re.Pattern) or schema.get("regex_engine") == "python-re"
        begins = begins or self._configured("regex_engine") == "python-re"
        for key, option in (("minLength", "str_min_length"), ("maxLength", "str_max_length")):
            if key not in made and self._configured(option):
                made[key] = self._configured(option)
        if isinstance(text := made.get("pattern"), str) and (flags or begins):
            made["pattern"] = f"{flags}{text if text.startswith('^') and '|' not in text else f'^(?:{text})'}"
        strip = schema.get("strip_whitespace") or self._configured("str_strip_whitespace")
        extra = [r"^(?:\S(?:[\s\S]*\S)?)?$"] if strip else []
        if schema.get("ascii_only"):
            extra.append(r"^[\x00-\x7f]*$")
        return {**made, "allOf": [{"pattern": added} for added in extra]} if extra else made

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Restrict bytes to the configured encoding: plain text, base 64 or hexadecimal digits."""
        made = super().bytes_schema(schema)
        form = self._configured("val_json_bytes") or "utf8"
        made.pop("format", None)
        if form == "utf8":
            return {**made, "pattern": "^[ -~]*$"} if "maxLength" in made else made
        least, most = made.pop("minLength", 0), made.pop("maxLength", None)
        if least or most is not None:
            raise refusal("bytes with a length, as base64 or hex", "the length is that of what they stand for")
        return {"type": "string", "pattern": f"^{formats.BASE64URL if form == 'base64' else '(?:[0-9a-f]{2})*'}$"}

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """Restrict a date to its bounds."""
        return temporal.date(dict(schema))

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """Restrict a date and time to its bounds, with or without a zone as the type requires."""
        return temporal.moment(dict(schema))

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """Restrict a time of day to its bounds."""
        return temporal.clock(dict(schema))

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """Describe a duration; with bounds, as a number of seconds."""
        return temporal.duration({"strict": self._configured("strict"), **schema})

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """Describe a complex number in Python's notation."""
        return {"type": "string", "pattern": r"^-?\d{1,9}(?:\.\d{1,9})?[+-]\d{1,9}(?:\.\d{1,9})?j$"}

    def fraction_schema(self, schema: Any) -> JsonSchemaValue:
        """Describe a fraction as a text; with bounds, as a number."""
        bounds = {key: float(schema[key]) for key in BOUNDS if schema.get(key) is not None}
        if bounds:
            return self.float_schema({"type": "float", **bounds})  # type: ignore[typeddict-item]
        return {"type": "string", "format": "fraction"}

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """Restrict a URL to the schemes of its type and plain hosts."""
        schemes = schema.get("allowed_schemes") or ("https", "http")
        host = "" if "file" in schemes else formats.HOST + formats.PORT
        pattern = f"^(?:{'|'.join(map(re.escape, schemes))})://{host or '/'}{formats.REST}$"
        return {"type": "string", "pattern": pattern, "maxLength": min(schema.get("max_length") or 2083, 2083)}

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """Restrict the URL to one host."""
        return self.url_schema(schema)  # type: ignore[arg-type]

    def uuid_schema(self, schema: core_schema.UuidSchema) -> JsonSchemaValue:
        """Restrict a UUID to its version."""
        return {"type": "string", "pattern": f"^(?:{formats.uuid(schema.get('version'))})$"}

    def json_schema(self, schema: core_schema.JsonSchema) -> JsonSchemaValue:
        """Raise: a grammar of JSON cannot describe a JSON document inside a text."""
        raise refusal("pydantic.Json", "it is a document inside a text; use the type itself")

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """Require hashable items; parsing removes duplicates."""
        return self._set(schema, super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """Require hashable items, as in a set."""
        return self._set(schema, super().frozenset_schema(schema))

    def _set(self, schema: Any, made: JsonSchemaValue) -> JsonSchemaValue:
        items = schema.get("items_schema")
        if items is None or items["type"] == "any":
            made["items"] = _SCALARS
        else:
            self._check_hashable(items, "a set")
        if (schema.get("min_length") or 0) <= 1:
            made.pop("uniqueItems", None)
        return made

    def _check_hashable(self, schema: Any, holder: str) -> None:
        kind, inner = schema["type"], schema.get("schema")
        cls = schema.get("cls")
        unhashable = isinstance(cls, type) and not issubclass(cls, Enum) and cls.__hash__ is None
        if kind in _UNHASHABLE or (kind in ("model", "dataclass") and unhashable):
            raise refusal(f"{holder} of {getattr(cls, '__name__', kind)}", "its items cannot be hashed")
        if isinstance(inner, dict) and kind not in ("model", "dataclass"):
            self._check_hashable(inner, holder)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Restrict property names to those that parse as keys."""
        return self._keyed(schema)

    def _keyed(self, schema: Any) -> JsonSchemaValue:
        keys = schema.get("keys_schema")
        values = schema.get("values_schema")
        made: JsonSchemaValue = {"type": "object"}
        made["additionalProperties"] = True if values is None else self.generate_inner(values)
        names = {} if keys is None else names_of_keys(self.generate_inner(keys), keys["type"])
        if names:
            made["propertyNames"] = names
        self.update_with_validations(made, schema, self.ValidationsMapping.object)
        return made

    def frozendict_schema(self, schema: Any) -> JsonSchemaValue:
        """Restrict property names, as in a dictionary."""
        return self._keyed(schema)

    def ordered_dict_schema(self, schema: Any) -> JsonSchemaValue:
        """Restrict property names, as in a dictionary."""
        return self._keyed(schema)

    def counter_schema(self, schema: Any) -> JsonSchemaValue:
        """Describe a dictionary of integers."""
        made = self._keyed(schema)
        return {**made, "additionalProperties": {"type": "integer"}}

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
        described = self._generate(schema) if special is None else special
        if function is not None and (other := extra(function, described)) is not None:
            if isinstance(other, str):
                raise refusal(f"{other} of pydantic-extra-types", "which texts it accepts is unknown")
            described = other
        if "email" in str(described.get("format")):
            described = {"maxLength": _MAILBOX, **described}
        return {"enum": zones()} if described.get("format") == "zoneinfo" else described

    def _generate(self, schema: Any) -> JsonSchemaValue:
        """Call pydantic's method within the configuration of the schema."""
        configuration = schema.get("config")
        self._configurations += [configuration] if configuration else []
        try:
            return super().generate_inner(schema)
        finally:
            self._configurations = self._configurations[: -1 if configuration else None]

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
