"""Tools: what the members are told, what they may call, and how the calls come back."""

import json
from itertools import pairwise
from typing import Any

import pytest
from deepen_li_members import REFUSING, TEMPLATE, fresh, gathered, random_members, speaking
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.deepen import DeepenLLM
from llama_index.llms.deepen.messages import conversation
from llama_index.llms.deepen.streams import PartialChat

from deepen_llm.errors import ConfigError, PromptError, StructureError
from deepen_llm.outputs import Piece


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def capital(country: str) -> str:
    """The capital of a country."""
    return {"France": "Paris"}[country]


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(capital)]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 40}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "capital", "arguments": {"country": "France"}}\n</tool_call>'
every_way = pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])


async def with_tools(llm: DeepenLLM, way: str, **given: Any) -> list[Any]:
    made = getattr(llm, f"{way}_with_tools")(TOOLS, **{"user_msg": "What is 2 + 40?", **given})
    return await gathered(way, made)


@every_way
async def test_a_call_comes_back_whole(way: str) -> None:
    llm = DeepenLLM(ensemble=speaking(CALL))
    response = (await with_tools(llm, way))[-1]
    (selected,) = llm.get_tool_calls_from_response(response)
    assert (selected.tool_name, selected.tool_kwargs) == ("add", {"a": 2, "b": 40})
    (block,) = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    (listed,) = response.message.additional_kwargs["tool_calls"]
    assert selected.tool_id == block.tool_call_id == listed["id"]
    assert json.loads(listed["function"]["arguments"]) == block.tool_kwargs == {"a": 2, "b": 40}
    assert not response.message.content
    json.dumps(response.raw, allow_nan=False)


@pytest.mark.parametrize("way", ["stream_chat", "astream_chat"])
async def test_streamed_calls_grow(way: str) -> None:
    llm = DeepenLLM(ensemble=speaking(f"Let me see. {CALL}"))
    responses = await with_tools(llm, way)
    assert "".join(response.delta for response in responses).strip() == "Let me see."
    assert responses[-1].message.content.strip() == "Let me see."
    seen = [llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) for response in responses]
    sizes = [sum(len(call.tool_kwargs) for call in calls) for calls in seen]
    assert sizes == sorted(sizes)
    assert {0, 1, 2} <= {len(calls) for calls in seen} | set(sizes)
    assert len({call.tool_id for calls in seen for call in calls}) == 1
    written = [
        response.message.additional_kwargs["tool_calls"] for response in responses if response.message.additional_kwargs
    ]
    arguments = [calls[0]["function"]["arguments"] for calls in written]
    assert all(later.startswith(earlier) for earlier, later in pairwise(arguments))


@every_way
async def test_several_calls_where_they_are_allowed(way: str) -> None:
    llm = DeepenLLM(ensemble=speaking(f"{CALL}\n{OTHER}"))
    several = (await with_tools(llm, way, allow_parallel_tool_calls=True))[-1]
    assert [call.tool_name for call in llm.get_tool_calls_from_response(several)] == ["add", "capital"]
    if way in ("chat", "astream_chat"):
        one = (await with_tools(llm, way))[-1]
        assert [call.tool_name for call in llm.get_tool_calls_from_response(one)] == ["add"]


@pytest.mark.parametrize(
    ("way", "choice", "names"),
    [
        ("chat", {"tool_required": True}, {"add", "capital"}),
        ("achat", {"tool_choice": "capital"}, {"capital"}),
        ("stream_chat", {"tool_choice": "capital"}, {"capital"}),
        ("astream_chat", {"tool_required": True}, {"add", "capital"}),
    ],
)
async def test_a_required_call_comes_whatever_the_weights(way: str, choice: dict[str, Any], names: set[str]) -> None:
    llm = DeepenLLM(ensemble=random_members(1), max_new_tokens=48, stop="e", temperature=1, seed=5)
    response = (await with_tools(llm, way, **choice))[-1]
    (call,) = llm.get_tool_calls_from_response(response)
    assert call.tool_name in names
    assert set(call.tool_kwargs) in ({"a", "b"}, {"country"})


def test_reasoning_is_a_block_of_its_own() -> None:
    answer = PartialChat(speaking(CALL))
    first, second = answer.extend(Piece("", reasoning="Hm")), answer.extend(Piece("So.", reasoning="m."))
    assert [response.additional_kwargs["thinking_delta"] for response in (first, second)] == ["Hm", "m."]
    assert [block.model_dump()["block_type"] for block in second.message.blocks] == ["thinking", "text"]
    assert second.message.blocks[0].content == "Hmm."
    assert (second.message.content, second.delta) == ("So.", "So.")
    again = conversation([second.message])
    assert again == [{"role": "assistant", "content": "So."}]


async def test_the_model_may_decline_and_may_be_forbidden() -> None:
    llm = DeepenLLM(ensemble=speaking(" Forty-two."))
    response = llm.chat_with_tools(TOOLS, "What is 2 + 40?")
    assert response.message.content == " Forty-two."
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(StructureError, match="Forty-two"):
        llm.get_tool_calls_from_response(response)
    assert (
        "tool_call"
        in DeepenLLM(ensemble=speaking(CALL)).chat_with_tools(TOOLS, "2?", tool_choice="none").message.content
    )


@every_way
async def test_an_unknown_tool_is_refused(way: str) -> None:
    with pytest.raises(ConfigError, match="one of the tools add, capital, got"):
        await with_tools(DeepenLLM(ensemble=speaking(CALL)), way, tool_choice="subtract")


def test_tools_reach_the_prompt_and_so_does_the_history() -> None:
    heard: list[str] = []
    llm = DeepenLLM(ensemble=speaking(lambda prompt: heard.append(prompt) or " 42."))
    call = ToolCallBlock(tool_call_id="abc123def", tool_name="add", tool_kwargs={"a": 2, "b": 40})
    history = [
        ChatMessage("What is 2 + 40?"),
        ChatMessage(role=MessageRole.ASSISTANT, blocks=[call]),
        ChatMessage("42", role=MessageRole.TOOL, additional_kwargs={"tool_call_id": "abc123def"}),
    ]
    message = ChatMessage("Say it in words.")
    assert llm.chat_with_tools(TOOLS, message, history).message.content == " 42."
    for told in ("Add two numbers.", "<tool_response>\n42", CALL.replace("\n", ""), message.content):
        assert told in heard[0].replace("<tool_call>\n", "<tool_call>").replace("}}\n<", "}}<")


HISTORY = [
    ChatMessage("What is 2 + 40?"),
    ChatMessage(
        role=MessageRole.ASSISTANT,
        additional_kwargs={"tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2, "b": 40}'}}]},
    ),
    ChatMessage("42", role=MessageRole.TOOL),
]


@pytest.mark.parametrize("template", [TEMPLATE, REFUSING])
def test_a_history_with_calls_becomes_the_prompt_that_chat_reads(template: str) -> None:
    heard: list[str] = []
    llm = DeepenLLM(
        ensemble=fresh(lambda prompt: heard.append(prompt) or " 42.", marks=("<answer>",), template=template)
    )
    written = llm.messages_to_prompt(HISTORY)
    assert '{"name": "add", "arguments": {"a": 2, "b": 40}}' in written
    assert "<tool_response>\n42" in written
    llm.chat(HISTORY)
    assert heard[0] == written


def test_a_call_needs_no_id_but_a_tool() -> None:
    llm = DeepenLLM(ensemble=speaking(" 42."))
    assert conversation(HISTORY)[1]["tool_calls"][0]["id"] == ""
    (call,) = llm.get_tool_calls_from_response(ChatResponse(message=HISTORY[1]))
    assert (call.tool_id, call.tool_name, call.tool_kwargs) == ("", "add", {"a": 2, "b": 40})
    nameless = ChatMessage(role=MessageRole.ASSISTANT, additional_kwargs={"tool_calls": [{"id": "abc"}]})
    for way in (llm.chat, llm.messages_to_prompt):
        with pytest.raises(PromptError, match="expected a tool call, got"):
            way([HISTORY[0], nameless])


async def test_a_tool_is_predicted_and_called() -> None:
    llm = DeepenLLM(ensemble=speaking(CALL))
    assert llm.predict_and_call(TOOLS, "What is 2 + 40?").response == "42"
    answer = await llm.apredict_and_call(TOOLS, "What is 2 + 40?")
    assert [source.raw_output for source in answer.sources] == [42]


@every_way
async def test_a_plain_function_is_refused(way: str) -> None:
    with pytest.raises(ConfigError, match="is no tool") as caught:
        await gathered(way, getattr(DeepenLLM(ensemble=speaking(CALL)), f"{way}_with_tools")([add], "What is 2 + 40?"))
    assert "FunctionTool.from_defaults" in (caught.value.hint or "")
