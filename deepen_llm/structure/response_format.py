"""What a caller may ask an answer to be, as a JSON schema, and how the answer is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType, get_origin

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError
from typing_extensions import TypeAliasType

from deepen_llm.errors import ConfigError, StructureError
from deepen_llm.structure.schema import enforceable
from deepen_llm.structure.types import schema_of

_FAULTS = (
    TypeError,
    AttributeError,
    UnicodeError,
    ImportError,
    NotImplementedError,
    RecursionError,
)  # raised by pydantic for what is no type
_FORMS = "give a pydantic model, a dataclass, a TypedDict or another type, or a JSON schema as a mapping"


@dataclass(frozen=True)
class ResponseFormat:
    """The structure that an answer must have.

    Attributes:
        schema: Its JSON schema.
        kind: The type that answers are read back as; None for plain JSON values.
    """

    schema: Mapping[str, Any]
    kind: Any = None

    @classmethod
    def of(cls, given: Any) -> ResponseFormat | None:
        """What a caller gave, understood.

        Args:
            given: A pydantic model, dataclass, ``TypedDict`` or any other type that pydantic knows; a JSON schema; or
                the form ``{"type": "json_schema", "json_schema": {"schema": ...}}``, ``{"type": "json_object"}`` or
                ``{"type": "text"}``, which asks for nothing.

        Raises:
            ConfigError: It is none of these.
        """
        if given is None or isinstance(given, ResponseFormat):
            return given
        if not isinstance(given, Mapping):
            return cls(_schema_of(given), given)
        if given.get("type") == "text":
            return None
        if given.get("type") == "json_object":
            return cls(enforceable({"type": "object"}))
        return cls(enforceable(_inner(given)))

    def read(self, text: str) -> Any:
        """An answer as a value.

        Raises:
            StructureError: It is no such value: cut short, or refused by a validator that no grammar can express.
        """
        try:
            return (
                json.loads(text, parse_int=_whole) if self.kind is None else TypeAdapter(self.kind).validate_json(text)
            )
        except (ValueError, ValidationError) as error:
            raise StructureError(
                f"the answer cannot be read as the response_format asks: {error}",
                hint="look at the text and its finish_reason; rules beyond the schema cannot be guaranteed",
            ) from error


def _whole(digits: str) -> int:
    """An integer of any length; Python reads none of more than 4300 digits at once."""
    sign, plain = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    made = 0
    for start in range(0, len(plain), 1000):
        part = plain[start : start + 1000]
        made = made * 10 ** len(part) + int(part)
    return sign * made


def _inner(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, out of the forms that the APIs wrap it in."""
    wrapped = given.get("json_schema") if given.get("type") == "json_schema" else given
    if isinstance(wrapped, Mapping) and isinstance(schema := wrapped.get("schema"), Mapping):
        return schema
    if wrapped is given:
        return given
    raise ConfigError(
        "response_format of type 'json_schema' holds no schema",
        hint="give {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}",
    )


def type_schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type, as it may be told to a model; `enforceable` makes of it what grammars hold.

    Args:
        kind: A type that pydantic knows.

    Raises:
        ConfigError: It is no type, or none that JSON has values for.
    """
    named = isinstance(kind, NewType | TypeAliasType) or kind is Any  # which is a class from Python 3.11 on
    if not (isinstance(kind, type) or get_origin(kind) is not None or named):  # pydantic would run or call others
        raise ConfigError(f"{kind!r:.80} is no type", hint=_FORMS)
    if any(base.__module__.startswith("pydantic.v1.") for base in getattr(kind, "__mro__", ())):
        raise ConfigError(f"{kind!r:.80} is a model of pydantic's version 1", hint="derive it from pydantic.BaseModel")
    try:
        return schema_of(kind)
    except (PydanticSchemaGenerationError, PydanticUserError, SchemaError, *_FAULTS) as error:
        raise ConfigError(f"{kind!r:.80} is no structure: {str(error).splitlines()[0]}", hint=_FORMS) from error


def _schema_of(kind: Any) -> dict[str, Any]:
    try:
        schema = type_schema(kind)
    except ConfigError as error:
        raise ConfigError(f"response_format={error.message}", hint=error.hint) from error
    return enforceable(schema)
