"""What a caller may ask an answer to be, as a JSON schema, and how the answer is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from deepen_llm.errors import ConfigError, StructureError
from deepen_llm.structure.schema import enforceable


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
        kind = given.get("type")
        if kind == "text":
            return None
        if kind == "json_object":
            return cls({"type": "object"})
        if kind == "json_schema":
            inner = given.get("json_schema")
            inner = inner.get("schema") if isinstance(inner, Mapping) else None
            if not isinstance(inner, Mapping):
                raise ConfigError(
                    "response_format of type 'json_schema' holds no schema",
                    hint="give {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}",
                )
            return cls(enforceable(inner))
        return cls(enforceable(given))

    def read(self, text: str) -> Any:
        """An answer as a value.

        Raises:
            StructureError: It is no such value: cut short, or refused by a validator that no grammar can express.
        """
        try:
            return json.loads(text) if self.kind is None else TypeAdapter(self.kind).validate_json(text)
        except (ValueError, ValidationError) as error:
            raise StructureError(
                f"the answer cannot be read as the response_format asks: {error}",
                hint="look at the text and its finish_reason; rules beyond the schema cannot be guaranteed",
            ) from error


def _schema_of(kind: Any) -> dict[str, Any]:
    try:
        return enforceable(TypeAdapter(kind).json_schema())
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"response_format={kind!r:.80} is no structure: {error}",
            hint="give a pydantic model, a dataclass, a TypedDict or a JSON schema",
        ) from error
