"""Agents and graphs: the model calls tools, hears their results, and answers in a structure."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_deepen import ChatDeepen
from langchain_script import call
from langchain_scripted import ensemble
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel

ASKED = {"messages": [HumanMessage("The weather in Paris, and 2 plus 3.")]}
HEARD: list[Any] = []


class Report(BaseModel):
    """What was found."""

    weather: str
    total: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    HEARD.append(city)
    return f"sunny in {city}"


@tool
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    HEARD.append((a, b))
    return a + b


def plan(prompt: str) -> str:
    """First the weather, then the sum, then what they gave."""
    turn = prompt.rsplit("<|turn|>", 1)[1]
    if "sunny" not in prompt:
        return call("weather", city="Paris")
    if "5\n</tool_response>" not in turn and "\n5" not in turn:
        return call("add", a=2, b=3)
    return call("Report", weather="sunny", total=5) if '"Report"' in prompt else '{"weather": "sunny", "total": 5}'


@pytest.fixture(scope="module")
def planner() -> ChatDeepen:
    return ChatDeepen(ensemble=ensemble(plan), max_tokens=200)


def check(messages: list[Any]) -> None:
    called = [one["name"] for message in messages if isinstance(message, AIMessage) for one in message.tool_calls]
    assert called[:2] == ["weather", "add"]
    assert [m.content for m in messages if isinstance(m, ToolMessage)][:2] == ["sunny in Paris", "5"]
    assert HEARD == ["Paris", (2, 3)]
    HEARD.clear()


@pytest.mark.parametrize(
    ("strategy", "asynchronous"),
    [(Report, False), (ToolStrategy(Report), True), (ProviderStrategy(Report), True), (None, False)],
)
async def test_an_agent_with_two_tools(planner: ChatDeepen, strategy: Any, asynchronous: bool) -> None:
    agent: Any = create_agent(planner, [weather, add], response_format=strategy)
    state = await agent.ainvoke(ASKED) if asynchronous else agent.invoke(ASKED)
    check(state["messages"])
    if strategy is not None:
        assert state["structured_response"] == Report(weather="sunny", total=5)


async def test_an_agents_messages_are_streamed(planner: ChatDeepen) -> None:
    agent: Any = create_agent(planner, [weather, add], response_format=Report)
    chunks = [chunk for chunk, _ in agent.stream(ASKED, stream_mode="messages")]
    HEARD.clear()
    later = [chunk async for chunk, _ in agent.astream(ASKED, stream_mode="messages")]
    HEARD.clear()
    for said in (chunks, later):
        spoken = [chunk for chunk in said if isinstance(chunk, AIMessageChunk)]
        assert len(spoken) > 20
        assert [part["name"] for chunk in spoken for part in chunk.tool_call_chunks if part["name"]] == [
            "weather",
            "add",
        ]
        assert "".join(chunk.text for chunk in spoken) == '{"weather": "sunny", "total": 5}'
        assert [chunk.content for chunk in said if isinstance(chunk, ToolMessage)] == ["sunny in Paris", "5"]


async def test_a_graph_with_a_tool_node(planner: ChatDeepen) -> None:
    bound = planner.bind_tools([weather, add])

    async def later(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    for node in (lambda state: {"messages": [bound.invoke(state["messages"])]}, later):
        graph: Any = StateGraph(MessagesState)
        graph.add_node("model", node)
        graph.add_node("tools", ToolNode([weather, add]))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
        graph.add_edge("tools", "model")
        state = await graph.compile().ainvoke(ASKED)
        check(state["messages"])
        assert state["messages"][-1].text == '{"weather": "sunny", "total": 5}'
