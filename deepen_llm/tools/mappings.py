"""Tools as the APIs of the field write them, and as LangChain and the Model Context Protocol do."""

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
_OURS = ("function", "custom", "object")  # what is called here; every other type runs at a provider


def spread(tools: Any) -> Iterator[Any]:
    """The tools one by one: Google's API has several in one mapping."""
    for tool in tools:
        lists = [tool[key] for key in _DECLARATIONS if key in tool] if isinstance(tool, Mapping) else []
        if not lists:
            yield tool
        for declared in lists:
            yield from declared if isinstance(declared, list | tuple) else [declared]


def read(given: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    """A tool's name, its description, and the schema of its parameters.

    Raises:
        ConfigError: It describes no tool.
    """
    inner = _inner(given)
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        _refuse(given)
    _check_keys(name, inner)
    schema = _schema(inner)
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ConfigError(f"the parameters of tool {name!r} are no JSON schema of an object", hint=f"give {FORMS}")
    return name, str(inner.get("description") or ""), schema


def _inner(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping that has the name."""
    inner = next((given[key] for key in ("function", "toolSpec") if key in given), given)
    if not isinstance(inner, Mapping):
        _refuse(given)
    has_schema = any(key in inner for key in _SCHEMAS)
    kind = given.get("type", "function")
    if kind not in _OURS or (kind == "custom" and not has_schema):
        raise ConfigError(
            f"a tool of type {kind!r} runs at a provider, not here: {given!r:.120}", hint=f"give {FORMS} in its place"
        )
    if "properties" in inner and not has_schema:  # LangChain's form: a schema, titled as the tool is called
        about = {"name": inner.get("name") or inner.get("title"), "description": inner.get("description")}
        return {**about, "parameters": {k: v for k, v in inner.items() if k not in ("name", "title", "description")}}
    return inner


def _schema(inner: Mapping[str, Any]) -> Any:
    found = next((inner[key] for key in _SCHEMAS if inner.get(key)), None)
    if isinstance(found, Mapping) and set(found) == {"json"}:  # Amazon's
        found = found["json"]
    return lowered(found) if found else {"type": "object", "properties": {}}


def _check_keys(name: str, described: Mapping[str, Any]) -> None:
    for key in set(described) - set(_KEYS):
        if meant := suggestion(key, _KEYS, cutoff=0.8):
            raise ConfigError(f"unknown key {key!r} in tool {name!r}{meant}", hint=f"give {FORMS}")


def _refuse(given: Any) -> NoReturn:
    raise ConfigError(f"{given!r:.120} is no tool", hint=f"give {FORMS}")
