"""Tools as callers give them, and which of them must be called."""

import re
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as OldModel

from deepen_llm import ChatOptions, EnsembleLLM
from deepen_llm.errors import ConfigError
from deepen_llm.tools import Tool, Toolbox, ToolChoice
from tests.models import random_model, small
from tests.tools import chats


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def undocumented(a: int) -> int:
    return a


def lost(a: "Nowhere") -> None:  # type: ignore[name-defined] # noqa: F821
    """Do it."""


class Unknown:
    pass


class Old(OldModel):
    a: int


def unheard(a: int, b: Unknown) -> None:
    """Do it."""


def chosen(a: str) -> None:
    """Do it.

    Args:
        a: What (choices: tea, coffee)
    """


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


class Shade(Enum):
    RED = "red"


class Node(BaseModel):
    value: int
    children: list["Node"] = Field(max_length=2)


class Told(BaseModel):
    """A tool as the Model Context Protocol's package has it."""

    name: str
    inputSchema: dict[str, Any]  # noqa: N815


MAPPING = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
NONE: dict[str, Any] = {"type": "object", "properties": {}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "boolean"}}}


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


GOOGLE = {
    "type": "OBJECT",
    "properties": {"default": {"type": "NULL"}, "type": {"type": "STRING", "enum": ["NULL"]}},
}
LOWER = {"type": "object", "properties": {"default": {"type": "null"}, "type": {"type": "string", "enum": ["NULL"]}}}


@pytest.mark.parametrize(
    ("given", "parameters"),
    [
        ({"type": "function", "function": {"name": "x", "parameters": SCHEMA, "strict": True}}, SCHEMA),
        ({"type": "function", "name": "x", "parameters": SCHEMA, "strict": True}, SCHEMA),
        ({"name": "x", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}, SCHEMA),
        ({"type": "custom", "name": "x", "input_schema": SCHEMA}, SCHEMA),
        ({"name": "x", "inputSchema": SCHEMA, "outputSchema": SCHEMA, "annotations": {}, "_meta": None}, SCHEMA),
        (Told(name="x", inputSchema=SCHEMA), SCHEMA),
        ({"name": "x", "parameters": GOOGLE}, LOWER),
        ({"name": "x", "parametersJsonSchema": SCHEMA}, SCHEMA),
        ({"function_declarations": [{"name": "x", "parameters": GOOGLE}]}, LOWER),
        ({"functionDeclarations": [{"name": "x", "parameters": GOOGLE}]}, LOWER),
        ({"toolSpec": {"name": "x", "inputSchema": {"json": SCHEMA}}}, SCHEMA),
        ({"title": "x", **SCHEMA}, SCHEMA),
        ({"name": "x", **SCHEMA}, SCHEMA),
        ({"name": "x", "parameters": None}, NONE),
        ({"name": "x", "parameters": {}}, NONE),
        ({"name": "x", "parameters": NONE}, NONE),
    ],
)
def test_every_form_that_an_api_has(given: Any, parameters: dict[str, Any]) -> None:
    (tool,) = (Toolbox.of([given]) or Toolbox(())).tools
    assert tool == Tool("x", "", parameters)
    assert tool.arguments == {**parameters, "additionalProperties": False}


def test_an_object_without_properties_has_none() -> None:
    assert Tool.of({"name": "x", "parameters": {"type": "object"}}).arguments["additionalProperties"] is False
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    assert Tool.of({"name": "x", "parameters": free}).arguments == free


def test_a_recursive_type_keeps_its_shape_and_has_its_properties_at_the_root() -> None:
    told = Tool.of(Node).parameters
    assert set(told["properties"]) == {"value", "children"}
    assert told["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert set(told["$defs"]["Node"]["properties"]) == {"value", "children"}
    assert "title" not in str(told)


def test_a_type_under_another_name() -> None:
    tool = Tool.of_type(Weather, "look", "Look out.")
    assert (tool.name, tool.description, tool.parameters) == ("look", "Look out.", Tool.of(Weather).parameters)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (untyped, "parameter 'a' of the function untyped has no type hint"),
        (lost, "a type hint of the function lost cannot be resolved"),
        (unheard, "parameter 'b' of tool 'unheard'"),
        (chosen, "expected choices in JSON, got"),
        (3, "expected a tool, got 3"),
        ("add", "expected a tool, got 'add'"),
        ({"parameters": SCHEMA}, "expected a tool, got"),
        ({"name": ""}, "expected a tool, got"),
        ({"function": "add"}, "expected a tool, got"),
        ({"name": "x", "parameters": [1]}, "parameters of tool 'x' as a JSON schema of an object, got"),
        (None, "expected a tool, got None"),
        ({"name": "x", "paramaters": SCHEMA}, "did you mean 'parameters'"),
        ({"name": "x", "parameters": {"type": "array"}}, "tool 'x' as a JSON schema of an object, got"),
        ({"name": "x", "parameters": {"city": {"type": "string"}}}, "tool 'x': .* without any of its keywords"),
        ({"name": "x", "parameters": {"properties": {"c": {"minLenght": 1}}}}, "tool 'x': .*minLenght"),
        ({"type": "web_search"}, "of type 'web_search' runs at a provider"),
        ({"type": "web_search_20250305", "name": "web_search"}, "of type 'web_search_20250305' runs at a provider"),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "of type 'code_interpreter' runs"),
        ({"type": "custom", "name": "x", "format": {"type": "text"}}, "of type 'custom' runs"),
        ({"google_search": {}}, "expected a tool, got"),
        (Unknown, "tool 'Unknown'"),
        (Old, "tool 'Old': .* is a model of pydantic's version 1"),
        (Shade, "tool 'Shade': expected a type of objects, .* got Shade"),
        (list[int], "expected a type of objects"),
        (int, "expected a type of objects"),
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
        ({"type": "function", "name": "add"}, ToolChoice(True, "add")),
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
        ({"tools": add}, "expected a list of tools, got"),
        ({"tools": MAPPING}, "expected a list of tools, got"),
        ({"tools": "add"}, "expected a list of tools, got"),
        ({"tools": [add], "tool_choice": "subtract"}, "one of the tools add, got 'subtract'"),
        ({"tools": [add], "tool_choice": 3}, "one of the tools add, got 3"),
        ({"tools": [add], "tool_choice": {"type": "function"}}, "one of the tools add, got 'function'"),
        (
            {"tools": [add], "tool_choice": {"type": "function", "function": {"name": "any"}}},
            "one of the tools add, got 'any'",
        ),
        (
            {"tools": [add], "tool_choice": {"type": "function", "function": "subtract"}},
            "one of the tools add, got 'subtract'",
        ),
        ({"tools": [add], "tool_choice": {"mode": "ANY"}}, "one of the tools add, got"),
        ({"tools": [add], "tool_choice": {}}, "one of the tools add, got"),
        ({"tools": [add], "tool_choice": {"type": "allowed_tools", "tools": []}}, "one of the tools add, got"),
        ({"tools": [add], "tool_choice": ["add"]}, "one of the tools add, got"),
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


MAIL = {
    "name": "mail",
    "parameters": {
        "type": "object",
        "properties": {
            "to": {
                "type": "string",
                "format": "email",
                "pattern": r"^(?!\.)(?!.*\.\.)[a-z.]+@([a-z]+\.)+[a-z]{2,}$",
            }
        },
        "required": ["to"],
    },
}


def test_the_address_of_a_mail_tool_is_held_and_read_by_its_own_pattern() -> None:
    llm = EnsembleLLM([small("llama", "byte_level_bpe")])
    asked = [{"role": "user", "content": "Write to Ada."}]
    for seed in range(2):
        call = llm.chat(
            asked, tools=[add, MAIL], tool_choice="mail", max_new_tokens=120, temperature=1.5, seed=seed
        ).tool_calls[0]
        assert re.match(MAIL["parameters"]["properties"]["to"]["pattern"], call.arguments["to"])  # type: ignore[index]


def test_what_cannot_be_held_is_refused_with_the_tool_the_property_and_the_keyword() -> None:
    beyond = {"name": "buy", "parameters": {"type": "object", "properties": {"n": {"pattern": r"^(a)\1$"}}}}
    with pytest.raises(ConfigError, match=r"tool 'buy': .*'n'.*pattern"):
        Toolbox.of([add, beyond])


@pytest.mark.parametrize("name", ["get weather.now", "天气", 'say "hi"', "a/b:c", "x[int]"])
@pytest.mark.parametrize("template", ["hermes", "llama3", "mistral", "mistral_args"])
def test_any_name_may_be_called(name: str, template: str) -> None:
    special = ("[TOOL_CALLS]", "[ARGS]") if template.startswith("mistral") else ()
    main = chats.tokenizer("byte_level_bpe", template, special)
    llm = EnsembleLLM([(random_model("llama", len(main), main.eos_token_id), main)])
    asked = [{"role": "user", "content": "Hello."}]
    output = llm.chat(asked, tools=[{"name": name}, add], tool_choice=name, max_new_tokens=60)
    assert [(call.name, call.arguments) for call in output.tool_calls] == [(name, {})]
