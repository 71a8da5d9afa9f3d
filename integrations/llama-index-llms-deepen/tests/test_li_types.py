"""Every class that a user may ask for: objects of it from structured prediction and from calls."""

import json
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest
from deepen_li_members import random_members, speaking
from llama_index.core import PromptTemplate
from llama_index.core.agent import FunctionAgent
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.deepen import DeepenLLM
from llama_index.llms.deepen.tools import definition
from pydantic import BaseModel, ConfigDict, Field, RootModel

from deepen_llm.errors import ConfigError
from deepen_llm.tools import Tool

PROMPT = PromptTemplate("Give me {what}.")
Short = Annotated[str, Field(max_length=6)]
Item = TypeVar("Item")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=0, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    name: Short


class Node(BaseModel):
    value: Annotated[int, Field(ge=0, le=99)]
    children: list["Node"] = Field(max_length=2)


class Pet(BaseModel):
    which: Annotated[Cat | Dog, Field(discriminator="kind")]
    other: Cat | None


class Keyed(BaseModel):
    id: UUID
    when: date
    color: Color


class Box(BaseModel, Generic[Item]):
    item: Item


class Tags(RootModel[Annotated[list[Color], Field(max_length=2)]]):
    pass


class Unholdable(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    name: Annotated[str, Field(pattern=r"^(a)\1$")]


@cache
def random_llm(**given: Any) -> DeepenLLM:
    return DeepenLLM(ensemble=random_members(0), max_new_tokens=100, temperature=1.5, seed=0, **given)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((kind, PydanticProgramMode.DEFAULT) for kind in (Node, Keyed, Tags)),
        *((kind, PydanticProgramMode.FUNCTION) for kind in (Node, Pet, Box[Color], Tags)),
    ],
)
def test_an_answer_is_an_object_of_the_class_asked_for(kind: type[BaseModel], mode: PydanticProgramMode) -> None:
    llm = random_llm(pydantic_program_mode=mode)
    if kind is Tags and mode is PydanticProgramMode.FUNCTION:
        with pytest.raises(ConfigError, match=r"tool 'Tags': expected a type of objects"):
            llm.structured_predict(kind, PROMPT, what="one")
        return
    assert type(llm.structured_predict(kind, PROMPT, what="one")) is kind


def test_a_recursive_class_keeps_its_references() -> None:
    grow = FunctionTool.from_defaults(lambda **_: "x", name="grow", description="g", fn_schema=Node)
    parameters = Tool.of(definition(grow)).arguments
    assert parameters["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert set(parameters["$defs"]["Node"]["properties"]) == {"value", "children"}


@pytest.mark.parametrize("child", [False, {"value": 2, "children": []}], ids=str)
async def test_every_child_is_one(child: Any) -> None:
    said = json.dumps({"name": "Node", "arguments": {"value": 1, "children": [child]}})
    llm = DeepenLLM(ensemble=speaking(f"<tool_call>\n{said}\n</tool_call>"), max_new_tokens=60)
    program = FunctionCallingProgram.from_defaults(Node, prompt=PROMPT, llm=llm)
    for made in (program(what="a tree"), await program.acall(what="a tree")):
        assert isinstance(made, Node)
        assert all(isinstance(one, Node) for one in made.children)


def pay(amount: Decimal, color: Color, on: date | None = None, account: str = "mine") -> str:
    """Pay.

    Args:
        amount (Decimal): How much.
    """
    return f"{color} {account}"


def test_a_function_is_told_with_its_types_and_without_what_is_given_already() -> None:
    tool = FunctionTool.from_defaults(pay, partial_params={"account": "yours"})
    told = definition(tool)["function"]
    assert list(told["parameters"]["properties"]) == ["amount", "color", "on"]
    known = tool.metadata.fn_schema.model_json_schema()["properties"]["amount"]  # older versions describe none
    assert told["parameters"]["properties"]["amount"].get("description") == known.get("description")
    response = random_llm().chat_with_tools([tool], "Pay!", tool_required=True)
    (call,) = random_llm().get_tool_calls_from_response(response)
    assert call.tool_kwargs["color"] in ("red", "blue")
    Decimal(call.tool_kwargs["amount"])


class Own(BaseTool):
    """A tool that says itself what its arguments are."""

    class About(ToolMetadata):
        def get_parameters_dict(self) -> dict[str, Any]:
            return {"type": "object", "properties": {"z": {"type": "integer"}}}

    metadata = About("Does.", "own")

    def __call__(self, input: Any) -> Any:  # noqa: A002 (LlamaIndex's name)
        raise NotImplementedError


@pytest.mark.parametrize(
    ("tool", "properties"),
    [
        (Own(), ["z"]),
        (FunctionTool(pay, ToolMetadata("Pay.", "pay")), ["input"]),
        (FunctionTool(pay, ToolMetadata("Pay.", "pay", fn_schema=None)), ["input"]),
    ],
)
def test_other_tools_are_told_as_they_say(tool: BaseTool, properties: list[str]) -> None:
    assert list(definition(tool)["function"]["parameters"]["properties"]) == properties


WEATHER = FunctionTool.from_defaults(lambda city: city, name="weather", description="The weather.")
SEND = FunctionTool.from_defaults(lambda **_: "", name="send", description="Send.", fn_schema=Unholdable)


class Mail(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    to: Annotated[str, Field(pattern=r"^(?!\.)(?!.*\.\.)[a-z.]+@([a-z]+\.)+[a-z]{2,}$")]


def forecast(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def looks_up(prompt: str) -> str:
    call = '<tool_call>\n{"name": "forecast", "arguments": {"city": "Rome"}}\n</tool_call>'
    return "It rains." if "Rain in Rome" in prompt else call


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex's agents
async def test_a_tool_with_lookaheads_in_its_pattern_stands_beside_others() -> None:
    mail = FunctionTool.from_defaults(lambda to: to, name="mail", description="Write.", fn_schema=Mail)
    agent = FunctionAgent(tools=[forecast, mail], llm=DeepenLLM(ensemble=speaking(looks_up)), streaming=False)
    assert (await agent.run("What is the weather in Rome?")).response.content.strip() == "It rains."


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex's agents
async def test_a_tool_that_cannot_be_held_is_refused_by_name() -> None:
    llm = DeepenLLM(ensemble=speaking("Rain."))
    with pytest.raises(ConfigError, match=r"tool 'send': .*'name'"):
        llm.chat_with_tools([WEATHER, SEND], "What is the weather in Rome?")
    with pytest.raises(ConfigError, match=r"tool 'send': .*'name'"):
        await FunctionAgent(tools=[WEATHER, SEND], llm=llm).run("What is the weather in Rome?")


def test_a_class_that_cannot_be_held_is_refused_when_it_is_given() -> None:
    with pytest.raises(ConfigError, match="name"):
        random_llm().as_structured_llm(Unholdable)
    assert random_llm().as_structured_llm(Node).output_cls is Node
