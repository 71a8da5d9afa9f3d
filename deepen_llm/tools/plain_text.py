"""Tools told in words, for chat templates that know none: in the Hermes manner, which most open models have read."""

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
    """Whether a conversation holds calls, or their results."""
    return any(message.get("tool_calls") or message["role"] == "tool" for message in messages)


def in_words(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], form: ToolFormat = HERMES
) -> list[dict[str, Any]]:
    """A conversation of plain messages that says the same.

    The tools are told in the system message, where there is one, else at the head of the user's first message: some
    templates refuse a system message. Results come as a user message.

    Args:
        messages: The messages, `normalised`.
        tools: The tools that the assistant may call.
        form: How calls are written.
    """
    made: list[dict[str, Any]] = []
    for message in messages:
        plain = _plain(message, form)
        if made and made[-1]["role"] == plain["role"] == "user":  # several results; roles must take turns
            plain["content"] = made.pop()["content"] + "\n" + plain["content"]
        made.append(plain)
    if tools:
        if made[0]["role"] == "assistant":
            made.insert(0, {"role": "system", "content": ""})
        told = _INSTRUCTION.format(tools="\n".join(_written(tool.definition()) for tool in tools))
        first = made[0]["content"]
        after = made[0]["role"] == "system" and first
        made[0]["content"] = "\n\n".join(part for part in ((first, told) if after else (told, first)) if part)
    return made


def _plain(message: Mapping[str, Any], form: ToolFormat) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    if role == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    written = form.write((call["name"], _written(call["arguments"])) for call in calls) if calls else ""
    return {"role": role, "content": "\n".join(part for part in (content, written) if part)}


def _written(given: Any) -> str:
    return json.dumps(given, ensure_ascii=False)
