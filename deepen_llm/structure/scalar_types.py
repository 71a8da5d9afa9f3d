"""JSON schemas of numbers, texts, dates and other types without parts, narrower than pydantic's."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from deepen_llm.structure import formats, temporal
from deepen_llm.structure.decimals import decimal
from deepen_llm.structure.narrowing import BOUNDS, finite, flags_of, refusal


class ScalarSchema(GenerateJsonSchema):
    """Pydantic's generator of schemas, with narrower schemas of types without parts."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own attribute)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._configurations: list[Any] = []

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """Call pydantic's method within the configuration of the schema."""
        configuration = schema.get("config")
        self._configurations += [configuration] if configuration else []
        try:
            return super().generate_inner(schema)
        finally:
            self._configurations = self._configurations[: -1 if configuration else None]

    def _configured(self, key: str) -> Any:
        """Look up an option in the innermost configuration; None if it is not set."""
        return self._configurations[-1].get(key) if self._configurations else None

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

    def url_schema(self, schema: Any) -> JsonSchemaValue:
        """Restrict a URL to the schemes of its type and plain hosts."""
        schemes = schema.get("allowed_schemes") or ("https", "http")
        host = "" if "file" in schemes else formats.HOST + formats.PORT
        pattern = f"^(?:{'|'.join(map(re.escape, schemes))})://{host or '/'}{formats.REST}$"
        return {"type": "string", "pattern": pattern, "maxLength": min(schema.get("max_length") or 2083, 2083)}

    multi_host_url_schema = url_schema  # with one host

    def uuid_schema(self, schema: core_schema.UuidSchema) -> JsonSchemaValue:
        """Restrict a UUID to its version."""
        return {"type": "string", "pattern": f"^(?:{formats.uuid(schema.get('version'))})$"}
