"""Converts LlamaIndex's tools for the ensemble, and the ensemble's calls for LlamaIndex."""

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
    """A tool's definition for the ensemble, under the name by which LlamaIndex looks it up.

    The schema is that of the tool's ``fn_schema``: LlamaIndex's dictionary of parameters leaves out references at the
    root, and with them all properties of a recursive model.

    Raises:
        ConfigError: It is no LlamaIndex tool, or its schema cannot be enforced.
    """
    if not isinstance(tool, BaseTool):
        raise ConfigError(
            f"{tool!r:.80} is no tool",
            hint="give LlamaIndex tools, such as FunctionTool.from_defaults(function)",
        )
    metadata = tool.metadata
    name, own = metadata.get_name(), type(metadata).get_parameters_dict is not ToolMetadata.get_parameters_dict
    if metadata.fn_schema is None or own:
        converted = Tool(name, metadata.description or "", metadata.get_parameters_dict())
    else:
        converted = Tool.of_type(metadata.fn_schema, name, metadata.description)
    return Tool.of(converted).definition()


class _WholeMetadata(ToolMetadata):
    """Metadata of a tool with a recursive class, with the properties that LlamaIndex leaves out."""

    def get_parameters_dict(self) -> dict[str, Any]:
        kind = Tool.of_type(self.fn_schema, self.get_name(), self.description)
        return dict(kind.parameters)


class _Callable(AsyncBaseTool):
    """A tool with whole metadata: LlamaIndex's `call_tool` counts the properties in the dictionary of parameters."""

    def __init__(self, tool: BaseTool) -> None:
        metadata = tool.metadata
        self._tool = tool
        self._metadata = _WholeMetadata(metadata.description, metadata.name, metadata.fn_schema, metadata.return_direct)

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return self._tool(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return await adapt_to_async_tool(self._tool).acall(*args, **kwargs)


def callable_tools(tools: Sequence[BaseTool]) -> list[BaseTool]:
    """Tools that LlamaIndex's `call_tool` can call; those with a recursive class are wrapped.

    Raises:
        ConfigError: An object is no LlamaIndex tool, or a tool's schema cannot be enforced.
    """
    known = {id(tool): definition(tool) for tool in tools}
    named = [tool for tool in tools if "properties" in known[id(tool)]["function"]["parameters"]]
    cut = {id(tool) for tool in named if "properties" not in tool.metadata.get_parameters_dict()}
    return [_Callable(tool) if id(tool) in cut else tool for tool in tools]


def with_message(user_msg: str | ChatMessage | None, chat_history: Sequence[ChatMessage] | None) -> list[ChatMessage]:
    """The conversation with the user's message at its end."""
    history = list(chat_history or ())
    if user_msg is None:
        return history
    return [*history, ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg]


def selections(response: ChatResponse, *, required: bool) -> list[ToolSelection]:
    """The tool calls of a response; of an incomplete response, the part that is written.

    Args:
        response: The response.
        required: Raise an error where there is no call.

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
    """Arguments as a mapping; those that incomplete JSON holds."""
    if not isinstance(given, str):
        return dict(given)
    try:
        return dict(parse_partial_json(given))
    except ValueError:
        return {}
