"""Tools as text, for chat templates without tools: in the Hermes form, which most open models were trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.formats import HERMES, ToolFormat

_INSTRUCTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def speaks_of_tools(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a conversation has tool calls or results."""
    return any(message.get("tool_calls") or message["role"] == "tool" for message in messages)


def in_words(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], form: ToolFormat = HERMES
) -> list[dict[str, Any]]:
    """Convert a conversation to messages without tools.

    The definitions of the tools are appended to the system message, if there is one, else prefixed to the user's first
    message, since some templates refuse a system message. Results become user messages.

    Args:
        messages: The messages, `normalized`.
        tools: The tools that the assistant may call.
        form: The format of calls.
    """
    converted: list[dict[str, Any]] = []
    for message in messages:
        plain = _plain(message, form)
        if converted and converted[-1]["role"] == plain["role"] == "user":  # several results; roles must take turns
            plain["content"] = converted.pop()["content"] + "\n" + plain["content"]
        converted.append(plain)
    if tools:
        if converted[0]["role"] == "assistant":
            converted.insert(0, {"role": "system", "content": ""})
        instruction = _INSTRUCTION.format(tools="\n".join(_json(tool.definition()) for tool in tools))
        first = converted[0]["content"]
        after = converted[0]["role"] == "system" and first
        converted[0]["content"] = "\n\n".join(
            part for part in ((first, instruction) if after else (instruction, first)) if part
        )
    return converted


def _plain(message: Mapping[str, Any], form: ToolFormat) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    if role == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    written = form.write((call["name"], _json(call["arguments"])) for call in calls) if calls else ""
    return {"role": role, "content": "\n".join(part for part in (content, written) if part)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
