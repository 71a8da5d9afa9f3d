"""Definitions of tools in the forms of APIs, LangChain and the Model Context Protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.tools.parameters import lowered

FORMS = (
    "a function with type hints, a pydantic model, or {'type': 'function', 'function': {'name': ..., 'parameters': "
    "{...}}}"
)
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema")
_DECLARATIONS = ("function_declarations", "functionDeclarations")  # Google's lists
_KEYS = ("name", "description", *_SCHEMAS, "strict", "title", "type", "annotations", "outputSchema", "cache_control")
_OURS = ("function", "custom", "object")  # types that the caller runs; every other type runs at a provider


def spread(tools: Any) -> Iterator[Any]:
    """Iterate over the tools; a mapping of Google's API has several."""
    for tool in tools:
        lists = [tool[key] for key in _DECLARATIONS if key in tool] if isinstance(tool, Mapping) else []
        if not lists:
            yield tool
        for declared in lists:
            yield from declared if isinstance(declared, list | tuple) else [declared]


def read(described: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    """Read a tool's name, description and the schema of its parameters.

    Raises:
        ConfigError: The mapping describes no tool.
    """
    inner = _inner(described)
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        _refuse(described)
    _check_keys(name, inner)
    schema = _schema(inner)
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ConfigError(
            f"expected the parameters of tool {name!r} as a JSON schema of an object, got {schema!r:.80}",
            hint=f"give {FORMS}",
        )
    return name, str(inner.get("description") or ""), schema


def _inner(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the mapping that has the name."""
    inner = next((described[key] for key in ("function", "toolSpec") if key in described), described)
    if not isinstance(inner, Mapping):
        _refuse(described)
    has_schema = any(key in inner for key in _SCHEMAS)
    kind = described.get("type", "function")
    if kind not in _OURS or (kind == "custom" and not has_schema):
        raise ConfigError(
            f"a tool of type {kind!r} runs at a provider, not here: {described!r:.120}",
            hint=f"give {FORMS} in its place",
        )
    if "properties" in inner and not has_schema:  # LangChain's form: a schema whose title is the tool's name
        about = {"name": inner.get("name") or inner.get("title"), "description": inner.get("description")}
        return {**about, "parameters": {k: v for k, v in inner.items() if k not in ("name", "title", "description")}}
    return inner


def _schema(inner: Mapping[str, Any]) -> Any:
    schema = next((inner[key] for key in _SCHEMAS if inner.get(key)), None)
    if isinstance(schema, Mapping) and set(schema) == {"json"}:  # Amazon's form
        schema = schema["json"]
    return lowered(schema) if schema else {"type": "object", "properties": {}}


def _check_keys(name: str, described: Mapping[str, Any]) -> None:
    for key in set(described) - set(_KEYS):
        if meant := suggestion(key, _KEYS, cutoff=0.8):
            raise ConfigError(f"unknown key {key!r} in tool {name!r}{meant}", hint=f"give {FORMS}")


def _refuse(described: Any) -> NoReturn:
    raise ConfigError(f"expected a tool, got {described!r:.120}", hint=f"give {FORMS}")
