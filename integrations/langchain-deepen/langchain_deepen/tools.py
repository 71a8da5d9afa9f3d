"""LangChain's tools as the core takes them: with the whole schema, which LangChain's own conversion cuts at cycles."""

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
    """Tools in the form of the APIs, each once.

    Args:
        tools: Tools, functions, pydantic models and other types of objects, or mappings as the APIs have them.

    Raises:
        ConfigError: One describes no tool, or its arguments cannot be held to its schema.
    """
    made = [described(tool).definition() for tool in spread(tools)]
    return list({json.dumps(_untitled(one), sort_keys=True, default=repr): one for one in made}.values())


def described(tool: Any) -> Tool:
    """One tool; its name is the one by which LangChain finds it again.

    Raises:
        ConfigError: It describes no tool, or its arguments cannot be held to its schema.
    """
    made = _of_tool(tool) if isinstance(tool, BaseTool) else _of_other(tool)
    return Tool.of(made)  # which tells what cannot be held


def _of_tool(tool: BaseTool) -> Any:
    """Without the arguments that LangChain injects."""
    custom = (tool.metadata or {}).get("type") == "custom_tool"
    if isinstance(tool, StringTool) and (custom or not tool.args_schema):
        return convert_to_openai_tool(tool)  # LangChain has names of its own for the only argument
    schema: Any = tool.tool_call_schema
    if is_old(schema):
        schema = schema.schema()
    made = _of_schema if isinstance(schema, Mapping) else Tool.of_type
    return made(schema, tool.name, tool.description)


def is_old(kind: Any) -> TypeGuard[type[OldModel]]:
    """Whether it is a model of pydantic's first version, which LangChain still takes."""
    return isinstance(kind, type) and issubclass(kind, OldModel)


def _of_schema(schema: Mapping[str, Any], name: str, description: str) -> Tool:
    return Tool(name, description, {key: one for key, one in schema.items() if key not in ("title", "description")})


def _of_other(given: Any) -> Any:
    if isinstance(given, type) and issubclass(given, BaseModel):
        return Tool.of_type(given, given.model_config.get("title"))
    if is_old(given):
        schema = given.schema()  # of the old version, which core and pydantic know no more
        return _of_schema(schema, schema["title"], schema.get("description", ""))
    if is_typeddict(given):
        return Tool.of_type(readable(given))
    if callable(given) and hasattr(given, "__qualname__") and not isinstance(given, type):
        return _of_function(given)
    return given


def _of_function(function: Callable[..., Any]) -> Tool:
    """Without the parameters that LangChain injects."""
    name, doc = function.__name__, Docstring.of(function)
    try:
        kind = create_schema_from_function(name, function, include_injected=False)
    except Exception as error:  # a hint written as a string may raise anything
        raise ConfigError(
            f"the function {name} describes no tool: {error}",
            hint="give it type hints that can be resolved, or describe it by a pydantic model",
        ) from error
    made, kinds = Tool.of_type(kind, name, doc.summary), inspect.signature(function).parameters
    told = {
        key: {**({"description": doc.parameters[key]} if key in doc.parameters else {}), **one}
        for key, one in made.parameters["properties"].items()
        if kinds[key].kind is not inspect.Parameter.VAR_POSITIONAL
    }
    return replace(made, parameters={**made.parameters, "properties": told})


def _untitled(definition: Mapping[str, Any]) -> Any:
    """What is the same of tools that differ in titles alone, such as a class and its own schema."""
    return everywhere(definition, lambda one: {key: value for key, value in one.items() if key != "title"})
