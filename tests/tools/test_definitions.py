"""Tools as callers give them, and which of them must be called."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from deepen_llm import ChatOptions
from deepen_llm.errors import ConfigError
from deepen_llm.tools import Tool, Toolbox, ToolChoice


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def undocumented(a: int) -> int:
    return a


def untyped(a):  # type: ignore[no-untyped-def]
    """Do it.

    Args:
        a: What.
    """


class Weather(BaseModel):
    """Tell the weather."""

    city: str
    unit: Literal["C", "F"] = "C"
    days: int = Field(1, ge=1)


MAPPING = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def test_what_describes_a_tool() -> None:
    made = Tool.of(add)
    assert (made.name, made.description) == ("add", "Add two numbers.")
    assert made.parameters["required"] == ["a"]
    assert made.arguments["additionalProperties"] is False
    model = Tool.of(Weather)
    assert (model.name, model.description) == ("Weather", "Tell the weather.")
    assert set(model.parameters["properties"]) == {"city", "unit", "days"}
    for given in (MAPPING, {"type": "function", "function": MAPPING}):
        assert Tool.of(given) == Tool("look", "Look.", MAPPING["parameters"])  # type: ignore[arg-type]
    assert Tool.of(made) is made
    assert Tool.of({"name": "x", "input_schema": SCHEMA}).parameters == SCHEMA
    assert Tool.of(type("Silent", (BaseModel,), {})).description == ""
    bare = Tool.of({"name": "x"})
    assert bare.description == ""
    assert bare.arguments == {"type": "object", "properties": {}, "additionalProperties": False}
    assert made.definition()["function"]["name"] == "add"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (undocumented, "undocumented describes no tool"),
        (untyped, "untyped describes no tool"),
        (3, "3 is no tool"),
        ("add", "'add' is no tool"),
        ({"parameters": SCHEMA}, "is no tool"),
        ({"name": ""}, "is no tool"),
        ({"function": "add"}, "is no tool"),
        ({"name": "x", "parameters": [1]}, "parameters of tool 'x' are no JSON schema"),
        (None, "None is no tool"),
        ({"name": "x", "paramaters": SCHEMA}, "did you mean 'parameters'"),
        ({"name": "x", "parameters": {"type": "array"}}, "no JSON schema of an object"),
        ({"name": "x", "parameters": {"city": {"type": "string"}}}, "none of its keywords"),
    ],
)
def test_what_describes_none(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Tool.of(given)
    assert caught.value.hint


def test_the_choice() -> None:
    assert Toolbox.of(None) is Toolbox.of([]) is None
    assert Toolbox.of([], "auto") is Toolbox.of([add], "none") is Toolbox.of(None, None) is None
    for choice, expected in (
        ("auto", ToolChoice()),
        (None, ToolChoice()),
        ("any", ToolChoice(True)),
        ("required", ToolChoice(True)),
        ("add", ToolChoice(True, "add")),
        ({"type": "function", "function": {"name": "add"}}, ToolChoice(True, "add")),
        ({"type": "tool", "name": "add"}, ToolChoice(True, "add")),
        ({"type": "auto"}, ToolChoice()),
        ({"type": "any"}, ToolChoice(True)),
    ):
        box = Toolbox.of([add, Weather], choice)
        assert box is not None
        assert box.choice == expected
        assert box.parallel is (expected.name is None)
        assert len(box.callable_tools) == (1 if expected.name else 2)
    single = Toolbox.of([add], parallel=False)
    assert single is not None
    assert not single.parallel


def test_tools_may_be_called_like_choices() -> None:
    for name in ("any", "required"):
        box = Toolbox.of([{"name": name}], name)
        assert box is not None
        assert box.choice == ToolChoice(True, name)
    named = Toolbox.of([{"name": "auto"}, {"name": "none"}], {"type": "function", "function": {"name": "auto"}})
    assert named is not None
    assert named.choice == ToolChoice(True, "auto")
    plain = Toolbox.of([{"name": "auto"}], "auto")
    assert plain is not None
    assert plain.choice == ToolChoice()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": [add, add]}, "two tools are called 'add'"),
        ({"tools": [add, {"name": "add"}]}, "two tools are called 'add'"),
        ({"tools": add}, "is no list"),
        ({"tools": MAPPING}, "is no list"),
        ({"tools": "add"}, "is no list"),
        ({"tools": [add], "tool_choice": "subtract"}, "'subtract' names none of the tools add"),
        ({"tools": [add], "tool_choice": 3}, "3 names none"),
        ({"tools": [add], "tool_choice": {"type": "function"}}, "'function' names none"),
        ({"tools": [add], "tool_choice": {"type": "function", "function": {"name": "any"}}}, "'any' names none"),
        ({"tools": [add], "tool_choice": {"type": "function", "function": "subtract"}}, "'subtract' names none"),
        ({"tools": [add], "tool_choice": ["add"]}, "names none of the tools"),
        ({"tool_choice": "any"}, "without tools"),
        ({"tools": [], "tool_choice": "add"}, "without tools"),
        ({"tools": [add], "tool_choice": "any", "stop": "x"}, "would cut a structured answer short"),
        ({"tools": [add], "tool_choise": "any"}, "did you mean 'tool_choice'"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = ChatOptions(**options).toolbox


def test_free_text_with_tools_may_be_stopped() -> None:
    assert ChatOptions(tools=[add], stop="x").stop == ("x",)
    assert not ChatOptions(tools=[add]).structured
    assert ChatOptions(tools=[add], tool_choice="any").structured
