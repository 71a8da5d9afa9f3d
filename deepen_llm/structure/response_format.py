"""Response formats: the JSON schema of an answer, and the type that parses it."""

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
)  # raised by pydantic for unsupported types
_FORMS = "give a pydantic model, a dataclass, a TypedDict or another type, or a JSON schema as a mapping"


@dataclass(frozen=True)
class ResponseFormat:
    """The structure that an answer must have.

    Attributes:
        schema: The JSON schema of answers.
        kind: The type that parses answers; None for plain JSON values.
    """

    schema: Mapping[str, Any]
    kind: Any = None

    @classmethod
    def of(cls, requested: Any) -> ResponseFormat | None:
        """Make a response format of a caller's argument.

        Args:
            requested: A pydantic model, dataclass, ``TypedDict`` or any other type that pydantic knows; a JSON schema;
                or the form ``{"type": "json_schema", "json_schema": {"schema": ...}}``, ``{"type": "json_object"}`` or
                ``{"type": "text"}``, which requests no structure.

        Raises:
            ConfigError: It is none of these, or not supported.
        """
        if requested is None or isinstance(requested, ResponseFormat):
            return requested
        if not isinstance(requested, Mapping):
            return cls(_schema_of(requested), requested)
        if requested.get("type") == "text":
            return None
        if requested.get("type") == "json_object":
            return cls(enforceable({"type": "object"}))
        return cls(enforceable(_inner(requested)))

    def read(self, text: str) -> Any:
        """Parse an answer.

        Raises:
            StructureError: The text is cut short, or a validator refuses it that a grammar cannot express.
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
    """Parse an integer of any length; Python parses at most 4300 digits at once."""
    sign, plain = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    value = 0
    for start in range(0, len(plain), 1000):
        part = plain[start : start + 1000]
        value = value * 10 ** len(part) + int(part)
    return sign * value


def _inner(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Unwrap the schema from the forms of APIs."""
    wrapped = form.get("json_schema") if form.get("type") == "json_schema" else form
    if isinstance(wrapped, Mapping) and isinstance(schema := wrapped.get("schema"), Mapping):
        return schema
    if wrapped is form:
        return form
    raise ConfigError(
        "expected a schema in the response_format of type 'json_schema', got none",
        hint="give {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}",
    )


def type_schema(kind: Any) -> dict[str, Any]:
    """Make the JSON schema of a type, as in a prompt; `enforceable` rewrites it for grammars.

    Args:
        kind: A type that pydantic knows.

    Raises:
        ConfigError: It is no type, or JSON has no values of it.
    """
    named = isinstance(kind, NewType | TypeAliasType) or kind is Any  # Any is a class from Python 3.11 on
    if not (isinstance(kind, type) or get_origin(kind) is not None or named):  # pydantic would call other objects
        raise ConfigError(f"expected a type, got {kind!r:.80}", hint=_FORMS)
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
        raise ConfigError(f"response_format: {error.message}", hint=error.hint) from error
    return enforceable(schema)
