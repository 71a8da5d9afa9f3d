"""Converts LangChain's tools with their whole schema, which LangChain's own conversion cuts off at cycles."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.tools import Tool as StringTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel
from pydantic.v1 import BaseModel as OldModel
from typing_extensions import is_typeddict

from deepen_llm.errors import ConfigError
from deepen_llm.structure import everywhere
from deepen_llm.tools import Docstring, Tool, spread
from langchain_deepen.typed_dicts import readable


def definitions(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Definitions of tools in the form of OpenAI's API, without duplicates.

    Args:
        tools: Tools, functions, pydantic models and other types of objects, or mappings in the forms of the
            providers' APIs.

    Raises:
        ConfigError: An object describes no tool, or a tool's schema cannot be enforced.
    """
    converted = [described(tool).definition() for tool in spread(tools)]
    return list({json.dumps(_untitled(one), sort_keys=True, default=repr): one for one in converted}.values())


def described(tool: Any) -> Tool:
    """Convert one tool; its name is the one by which LangChain looks it up.

    Raises:
        ConfigError: It describes no tool, or its schema cannot be enforced.
    """
    converted = _of_tool(tool) if isinstance(tool, BaseTool) else _of_other(tool)
    return Tool.of(converted)  # raises an error where the schema cannot be enforced


def _of_tool(tool: BaseTool) -> Any:
    """Convert a LangChain tool, without the arguments that LangChain injects."""
    custom = (tool.metadata or {}).get("type") == "custom_tool"
    if isinstance(tool, StringTool) and (custom or not tool.args_schema):
        return convert_to_openai_tool(tool)  # LangChain chooses the name of the only argument
    schema: Any = tool.tool_call_schema
    if is_old(schema):
        schema = schema.schema()
    convert = _of_schema if isinstance(schema, Mapping) else Tool.of_type
    return convert(schema, tool.name, tool.description)


def is_old(kind: Any) -> TypeGuard[type[OldModel]]:
    """Whether it is a model of `pydantic.v1`, which LangChain supports."""
    return isinstance(kind, type) and issubclass(kind, OldModel)


def _of_schema(schema: Mapping[str, Any], name: str, description: str) -> Tool:
    return Tool(name, description, {key: one for key, one in schema.items() if key not in ("title", "description")})


def _of_other(given: Any) -> Any:
    if isinstance(given, type) and issubclass(given, BaseModel):
        return Tool.of_type(given, given.model_config.get("title"))
    if is_old(given):
        schema = given.schema()  # a model of pydantic.v1
        return _of_schema(schema, schema["title"], schema.get("description", ""))
    if is_typeddict(given):
        return Tool.of_type(readable(given))
    if callable(given) and hasattr(given, "__qualname__") and not isinstance(given, type):
        return _of_function(given)
    return given


def _of_function(function: Callable[..., Any]) -> Tool:
    """Convert a function, without the parameters that LangChain injects."""
    name, doc = function.__name__, Docstring.of(function)
    try:
        kind = create_schema_from_function(name, function, include_injected=False)
    except Exception as error:  # a hint written as a string may raise anything
        raise ConfigError(
            f"the function {name} describes no tool: {error}",
            hint="give it type hints that can be resolved, or describe it by a pydantic model",
        ) from error
    converted, kinds = Tool.of_type(kind, name, doc.summary), inspect.signature(function).parameters
    properties = {
        key: {**({"description": doc.parameters[key]} if key in doc.parameters else {}), **one}
        for key, one in converted.parameters["properties"].items()
        if kinds[key].kind is not inspect.Parameter.VAR_POSITIONAL
    }
    return replace(converted, parameters={**converted.parameters, "properties": properties})


def _untitled(definition: Mapping[str, Any]) -> Any:
    """The definition without titles, in which a class and its schema may differ."""
    return everywhere(definition, lambda one: {key: value for key, value in one.items() if key != "title"})
