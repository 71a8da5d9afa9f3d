"""Agents that go round: they ask for a tool, are told its result, and answer with it; with no network."""

import re
from typing import Any

import pytest
from deepen_li_members import speaking
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.llms.deepen import DeepenLLM
from pydantic import BaseModel
from test_li_tools import add, capital

pytestmark = [  # what LlamaIndex's agents do themselves: look at all of pydantic's attributes; ask whether they run
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]
QUESTION = "What is 2 + 40, and what is the capital of France?"
streaming_or_not = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])


def calls(prompt: str) -> str:
    """Asks for both tools, and answers with what they said."""
    results = re.findall(r"<tool_response>\n(.*?)\n</tool_response>", prompt)
    if not results:
        return '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 40}}\n</tool_call>'
    if len(results) == 1:
        return ' Next.\n<tool_call>\n{"name": "capital", "arguments": {"country": "France"}}\n</tool_call>'
    return f" They are {results[0]} and {results[1]}."


def reasons(prompt: str) -> str:
    """The same in the words of a ReAct agent."""
    seen = re.findall(r"Observation: (\w+)", prompt.rpartition(QUESTION)[2])  # not the instructions' examples
    if not seen:
        return ' Thought: Sum.\nAction: add\nAction Input: {"a": 2, "b": 40}'
    if len(seen) == 1:
        return ' Thought: City.\nAction: capital\nAction Input: {"country": "France"}'
    return f" Thought: Done.\nAnswer: They are {seen[0]} and {seen[1]}."


async def run(agent: Any) -> tuple[Any, list[Any]]:
    handler = agent.run(QUESTION)
    events = [event async for event in handler.stream_events()]
    return await handler, events


@streaming_or_not
async def test_a_function_agent_calls_its_tools_and_uses_their_results(streaming: bool) -> None:
    agent = FunctionAgent(tools=[add, capital], llm=DeepenLLM(ensemble=speaking(calls)), streaming=streaming)
    output, events = await run(agent)
    assert output.response.content.strip() == "They are 42 and Paris."
    assert [str(event.tool_output) for event in events if isinstance(event, ToolCallResult)] == ["42", "Paris"]
    deltas = [event.delta for event in events if isinstance(event, AgentStream)]
    assert "".join(deltas).strip() == ("Next. They are 42 and Paris." if streaming else "")
    assert output.raw["usage"]["total_tokens"] > 0


@streaming_or_not
async def test_a_react_agent_calls_its_tools_and_uses_their_results(streaming: bool) -> None:
    agent = ReActAgent(tools=[add, capital], llm=DeepenLLM(ensemble=speaking(reasons)), streaming=streaming)
    output, events = await run(agent)
    assert output.response.content == "They are 42 and Paris."
    assert [str(event.tool_output) for event in events if isinstance(event, ToolCallResult)] == ["42", "Paris"]
    assert streaming == any(isinstance(event, AgentStream) for event in events)


class Facts(BaseModel):
    total: int
    city: str


async def test_a_function_agent_answers_in_a_structure() -> None:
    def structured(prompt: str) -> str:
        return '{"total": 42, "city": "Paris"}' if "They are 42" in prompt else calls(prompt)

    agent = FunctionAgent(tools=[add, capital], llm=DeepenLLM(ensemble=speaking(structured)), output_cls=Facts)
    output, _ = await run(agent)
    assert output.get_pydantic_model(Facts) == Facts(total=42, city="Paris")


async def test_a_conversation_goes_on_over_past_calls() -> None:
    llm = DeepenLLM(ensemble=speaking(calls))
    agent, memory = FunctionAgent(tools=[add, capital], llm=llm), ChatMemoryBuffer.from_defaults(llm=llm)
    for tools_used in (2, 0):
        handler = agent.run(QUESTION, memory=memory)
        results = [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
        assert (await handler).response.content.strip() == "They are 42 and Paris."
        assert len(results) == tools_used


async def test_a_first_tool_can_be_forced() -> None:
    llm = DeepenLLM(ensemble=speaking(calls))
    agent = FunctionAgent(tools=[add, capital], llm=llm, initial_tool_choice="add")
    output, events = await run(agent)
    assert output.response.content.strip() == "They are 42 and Paris."
    assert [event.tool_name for event in events if isinstance(event, ToolCallResult)] == ["add", "capital"]


async def test_a_workflow_chooses_the_function_agent() -> None:
    tools = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(capital)]
    workflow = AgentWorkflow.from_tools_or_functions(tools, llm=DeepenLLM(ensemble=speaking(calls)))
    assert isinstance(next(iter(workflow.agents.values())), FunctionAgent)
    output, _ = await run(workflow)
    assert output.response.content.strip() == "They are 42 and Paris."


async def test_a_tool_that_fails_is_told_to_the_model() -> None:
    def asks(prompt: str) -> str:
        if "<tool_response>" in prompt and "Atlantis" in prompt:
            return " I could not look it up."
        return '<tool_call>\n{"name": "capital", "arguments": {"country": "Atlantis"}}\n</tool_call>'

    output, _ = await run(FunctionAgent(tools=[capital], llm=DeepenLLM(ensemble=speaking(asks))))
    assert output.response.content.strip() == "I could not look it up."
