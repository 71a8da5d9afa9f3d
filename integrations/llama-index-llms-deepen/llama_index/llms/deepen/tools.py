"""Tools on their way to the ensemble, and its calls on their way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools.types import AsyncBaseTool, BaseTool, ToolMetadata, ToolOutput, adapt_to_async_tool
from llama_index.llms.deepen.messages import tool_calls

from deepen_llm import Tool
from deepen_llm.errors import ConfigError, StructureError


def definition(tool: BaseTool) -> dict[str, Any]:
    """A tool as the ensemble takes it; its name stays as LlamaIndex will look it up.

    Its arguments are held to the whole schema of its type: LlamaIndex's own dictionary leaves out references at the
    root, and with them all of a recursive model.

    Raises:
        ConfigError: It is no tool of LlamaIndex's, or its arguments cannot be held to its schema.
    """
    if not isinstance(tool, BaseTool):
        raise ConfigError(f"{tool!r:.80} is no tool", hint="give tools, such as FunctionTool.from_defaults(function)")
    about = tool.metadata
    name, own = about.get_name(), type(about).get_parameters_dict is not ToolMetadata.get_parameters_dict
    if about.fn_schema is None or own:
        made = Tool(name, about.description or "", about.get_parameters_dict())
    else:
        made = Tool.of_type(about.fn_schema, name, about.description)
    return Tool.of(made).definition()


class _Whole(ToolMetadata):
    """The metadata of a tool whose class refers to itself, with the properties that LlamaIndex leaves out."""

    def get_parameters_dict(self) -> dict[str, Any]:
        kind = Tool.of_type(self.fn_schema, self.get_name(), self.description)
        return dict(kind.parameters)


class _Callable(AsyncBaseTool):
    """A tool that LlamaIndex's `call_tool` can call: it counts the properties of the parameters' dictionary."""

    def __init__(self, tool: BaseTool) -> None:
        about = tool.metadata
        self._tool = tool
        self._metadata = _Whole(about.description, about.name, about.fn_schema, about.return_direct)

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return self._tool(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return await adapt_to_async_tool(self._tool).acall(*args, **kwargs)


def callable_tools(tools: Sequence[BaseTool]) -> list[BaseTool]:
    """The tools, each as LlamaIndex itself can call it; its dictionary of a recursive class has no properties.

    Raises:
        ConfigError: One is no tool of LlamaIndex's, or its arguments cannot be held to its schema.
    """
    known = {id(tool): definition(tool) for tool in tools}
    named = [tool for tool in tools if "properties" in known[id(tool)]["function"]["parameters"]]
    cut = {id(tool) for tool in named if "properties" not in tool.metadata.get_parameters_dict()}
    return [_Callable(tool) if id(tool) in cut else tool for tool in tools]


def asked(user_msg: str | ChatMessage | None, chat_history: Sequence[ChatMessage] | None) -> list[ChatMessage]:
    """The conversation with the user's message at its end."""
    history = list(chat_history or ())
    if user_msg is None:
        return history
    return [*history, ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg]


def selections(response: ChatResponse, *, required: bool) -> list[ToolSelection]:
    """The calls that a response asks for; of one that is still being written, as far as it has come.

    Args:
        response: The response.
        required: Whether there must be one.

    Raises:
        StructureError: There is none.
    """
    calls = tool_calls(response.message)
    if required and not calls:
        raise StructureError(
            f"expected at least one tool call, but the answer is {response.message.content!r:.120}",
            hint="give tool_required=True, or a tool_choice, so that the answer must be a call",
        )
    return [
        ToolSelection(
            tool_id=call.get("id") or "",
            tool_name=call["function"]["name"],
            tool_kwargs=_arguments(call["function"].get("arguments") or {}),
        )
        for call in calls
    ]


def _arguments(given: Any) -> dict[str, Any]:
    """Arguments as a mapping: as many of them as a piece of JSON holds."""
    if not isinstance(given, str):
        return dict(given)
    try:
        return dict(parse_partial_json(given))
    except ValueError:
        return {}
