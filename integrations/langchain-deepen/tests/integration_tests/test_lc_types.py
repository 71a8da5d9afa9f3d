"""Every type that a user may ask for: an answer of that type by either method, whatever the weights, or a refusal."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cache
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union
from uuid import UUID

import pytest
import torch
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, StructuredTool, tool
from langchain_core.tools import Tool as StringTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_deepen import ChatDeepen
from langchain_scripted import END, byte_level, ensemble, random_weights
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, field_validator
from pydantic.v1 import BaseModel as OldModel
from typing_extensions import TypeAliasType

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError

METHODS = ["json_schema", "function_calling"]
both_methods = pytest.mark.parametrize("method", METHODS)
Short = Annotated[str, Field(max_length=6)]
Item = TypeVar("Item")


class Color(Enum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Stars(IntEnum):
    ONE = 1
    TWO = 2


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=0, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    name: Short


Either = Union[Cat, Dog]  # noqa: UP007 (as users write it)
Perhaps = Optional[Cat]  # noqa: UP045


class Node(BaseModel):
    value: Annotated[int, Field(ge=0, le=99)]
    children: list["Node"] = Field(max_length=2)


class Box(BaseModel, Generic[Item]):
    item: Item


class Point(NamedTuple):
    x: Annotated[int, Field(ge=0, le=9)]
    y: Annotated[int, Field(ge=0, le=9)]


class Labels(RootModel[dict[Literal["a", "b"], bool]]):
    pass


class Tags(RootModel[Annotated[list[Short], Field(max_length=2)]]):
    pass


class Exact(BaseModel):
    model_config = ConfigDict(strict=True)
    when: date
    color: Color


class Titled(BaseModel):
    model_config = ConfigDict(title="another name")
    at: date = Field(alias="on")


class Joke(TypedDict):
    """A joke.

    Args:
        rating: How good it is.
    """

    setup: Annotated[Short, ..., "Its beginning."]
    rating: Annotated[Literal[1, 2] | None, None, "Heard last."]


@dataclass
class Place:
    name: Short
    color: Color


@cache
def random_chat(seed: int) -> ChatDeepen:
    live = EnsembleLLM([random_weights(byte_level(), seed)])
    return ChatDeepen(ensemble=live, max_tokens=60, temperature=1.5, seed=seed)


# by both methods, which treat objects and what is none in their own ways; of the others, every kind by one of them
OF_BOTH: list[Any] = [Color, Cat, Point, Tags, Cat | Dog, Perhaps]
OTHERS: list[Any] = [
    Stars,
    Node,
    Labels,
    Exact,
    Titled,
    Place,
    Either,
    Annotated[Cat | Dog, Field(discriminator="kind")],
    list[Annotated[Cat | Dog, Field(discriminator="kind")]],
    Box[Cat],
    Box[Box[Color]],
    Literal["yes", "no"],
    bool,
    date,
    UUID,
    Annotated[int, Field(ge=3, le=5)],
    Annotated[list[Color], Field(min_length=1, max_length=2)],
    dict[Literal["a", "b"], Color],
    tuple[bool, Color],
    Annotated[set[Color], Field(max_length=1)],
]
ASKED = [(kind, method) for kind in OF_BOTH for method in METHODS]
ASKED += [(kind, METHODS[place % 2]) for place, kind in enumerate(OTHERS)]


@pytest.mark.parametrize(("kind", "method"), ASKED, ids=str)
def test_an_answer_is_of_the_type_asked_for(kind: Any, method: Any) -> None:
    made = random_chat(0).with_structured_output(kind, method=method).invoke("Any.")
    again = TypeAdapter(kind).validate_python(made, strict=isinstance(kind, type) and not issubclass(kind, tuple))
    assert again == made
    assert type(again) is type(made)


class Old(OldModel):
    """A model of pydantic's first version."""

    a: Literal[1, 2]
    when: date


@both_methods
def test_models_of_the_first_version_of_pydantic_are_answers_as_well(method: Any) -> None:
    assert isinstance(random_chat(0).with_structured_output(Old, method=method).invoke("Any."), Old)
    assert told(random_chat(0).bind_tools([Old]))["name"] == "Old"
    made = StructuredTool.from_function(lambda **_: "", name="give", description="Give.", args_schema=Old)
    assert set(told(random_chat(0).bind_tools([made]))["parameters"]["properties"]) == {"a", "when"}


def test_unions_give_each_of_their_classes() -> None:
    asked = [
        random_chat(seed).with_structured_output(Cat | Dog, method=method) for seed in range(4) for method in METHODS
    ]
    assert {type(chain.invoke("Any.")) for chain in asked} == {Cat, Dog}
    options = [random_chat(seed).with_structured_output(Perhaps) for seed in range(4)]  # type: ignore[type-var]
    assert {type(chain.invoke("Any.")) for chain in options} == {Cat, type(None)}


@pytest.mark.parametrize(
    ("child", "method"),
    [
        (False, METHODS[0]),
        (False, METHODS[1]),
        ({}, METHODS[0]),
        ({"value": 2, "children": []}, METHODS[1]),
        ({"value": "2", "children": [None]}, METHODS[0]),
    ],
    ids=str,
)
def test_every_child_of_a_recursive_model_is_one(child: Any, method: Any) -> None:
    wanted = {"value": 1, "children": [child]}
    model, asked = saying(wanted, "Node")
    made = model.with_structured_output(Node, method=method).invoke(asked)
    assert isinstance(made, Node)
    assert all(isinstance(one, Node) for one in made.children)
    assert made.children or not child


def told(bound: Any) -> dict[str, Any]:
    """The only tool that a model was bound to."""
    (only,) = bound.kwargs["tools"]
    return dict(only["function"])


def test_a_recursive_tool_keeps_its_shape() -> None:
    chat = random_chat(0)
    grow = StructuredTool.from_function(lambda **_: "", name="grow", description="Grow.", args_schema=Node)
    schema = Node.model_json_schema()
    given = StructuredTool.from_function(lambda **_: "", name="grow", description="Grow.", args_schema=schema)
    for one in (Node, grow, given):
        parameters = told(chat.bind_tools([one]))["parameters"]
        children = (parameters.get("properties") or parameters["$defs"]["Node"]["properties"])["children"]
        assert children["items"] == {"$ref": "#/$defs/Node"}
    for seed in range(2):
        said = random_chat(seed).bind_tools([Node], tool_choice="any").invoke("Grow a tree.", max_tokens=60)
        Node(**said.tool_calls[0]["args"])


@both_methods
@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Callable[[int], int], "is no structure"),
        (torch.Tensor, "is no structure"),
        ("Color", "expected a type, got "),
        (3, "expected a type, got "),
        ({"type": "object", "properties": {"a": {"type": "string", "minLenght": 2}}}, "minLenght"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "expected a schema in the response_format"),
        ({"city": {"type": "string"}}, "without any of its keywords"),
    ],
)
def test_what_is_no_structure_is_refused_when_it_is_given(schema: Any, message: str, method: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        random_chat(0).with_structured_output(schema, method=method)


NUMBER = {"type": "integer", "minimum": 0, "maximum": 9}
OBJECT = {"type": "object", "properties": {"n": NUMBER}, "required": ["n"]}
TREE = {
    "type": "array",
    "maxItems": 2,
    "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/Leaf"}]},
    "$defs": {"Leaf": {"const": 7}},
}


@both_methods
@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (OBJECT, "answer"),
        ({"title": "A number", **OBJECT}, "A number"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": OBJECT, "strict": True}}, "x"),
        ({"type": "json_schema", "name": "x", "schema": OBJECT}, "x"),
        ({"name": "x", "parameters": OBJECT}, "x"),
        ({"type": "function", "function": {"name": "x", "parameters": OBJECT}}, "x"),
        ({"name": "x", "input_schema": OBJECT}, "x"),
        (convert_to_openai_tool(Cat), "Cat"),
        (NUMBER, "answer"),
        ({"enum": ["a", "b"]}, "answer"),
        ({"enum": [{"$ref": "#", "title": "a value"}]}, "answer"),
        (TREE, "answer"),
    ],
)
def test_schemas_in_every_form(schema: dict[str, Any], name: str, method: Any) -> None:
    chain: Any = random_chat(1).with_structured_output(schema, method=method)
    made = chain.invoke("Any.", max_tokens=60)
    inner = next((schema[key] for key in ("parameters", "input_schema") if key in schema), schema)
    if inner is schema and (OBJECT in schema.values() or "json_schema" in schema or "function" in schema):
        assert set(made) <= {"n", "kind", "lives"}
    elif "enum" in inner:
        assert made in inner["enum"]
    elif inner is TREE:
        assert isinstance(made, list)
    else:
        assert 0 <= (made["n"] if isinstance(made, dict) else made) <= 9
    if method == "function_calling":
        assert chain.first.kwargs["tools"][0]["function"]["name"] == name


SEND = StructuredTool.from_function(
    lambda **_: "",
    name="send",
    description="Send.",
    args_schema={"type": "object", "properties": {"to": {"type": "string", "minLenght": 1}}},
)


def pay(amount: Decimal, color: Color, who: Annotated[str, InjectedToolArg], *more: int, on: date | None = None) -> str:
    """Pay.

    Args:
        amount: How much.
        on: When.
    """
    assert isinstance(amount, Decimal)
    return f"{color.value}"


def test_injected_arguments_are_not_the_models() -> None:
    @tool
    def look(at: Color, key: Annotated[str, InjectedToolArg], call: Annotated[str, InjectedToolCallId]) -> str:
        """Look."""
        return f"{at.value} {key} {call}"

    for one, names in ((look, {"at"}), (pay, {"amount", "color", "on"})):
        assert set(told(random_chat(0).bind_tools([one]))["parameters"]["properties"]) == names
    described = told(random_chat(0).bind_tools([pay]))
    assert (described["description"], described["parameters"]["properties"]["on"]["description"]) == ("Pay.", "When.")


def test_calls_of_tools_made_of_functions_are_read_by_them() -> None:
    @tool
    def give(amount: Decimal, who: Annotated[str, InjectedToolArg], key: UUID, on: date | None = None) -> str:
        """Give."""
        assert isinstance(amount, Decimal)
        assert isinstance(key, UUID)
        return f"{who} {on and on.year}"

    for seed in range(3):
        said = random_chat(seed).bind_tools([give], tool_choice="any").invoke("Give!", max_tokens=90)
        assert give.invoke({**said.tool_calls[0]["args"], "who": "me"}).startswith("me ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "code_interpreter"}, "'code_interpreter' runs at a provider"),
        (StringTool("look", print, "Look.", metadata={"type": "custom_tool"}), "'custom' runs at a provider"),
        (Color, "tool 'Color': expected a type of objects"),
        (SEND, "tool 'send': .*minLenght"),
    ],
)
def test_tools_are_refused_by_name_when_they_are_bound(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        random_chat(0).bind_tools([Cat, given])


def test_a_tool_of_one_string_and_a_function_that_no_name_is_needed_for() -> None:
    parameters = told(random_chat(0).bind_tools([StringTool("look", print, "Look.")]))["parameters"]
    assert list(parameters["properties"]) == ["__arg1"]
    assert told(random_chat(0).bind_tools([Titled]))["name"] == "another name"


def test_a_typed_dict_is_told_with_what_stands_beside_its_types() -> None:
    function = told(random_chat(0).bind_tools([Joke]))
    properties = function["parameters"]["properties"]
    assert function["description"] == "A joke."
    assert [properties[key]["description"] for key in ("setup", "rating")] == ["Its beginning.", "Heard last."]


ASKING = "Say "
CAT, DOG = {"kind": "cat", "lives": 7}, {"kind": "dog", "name": "Rex"}


def plain_and_call(prompt: str) -> str:
    """The answer that the last turn contains: its first text, or its second one where the prompt has tools."""
    plain, called = json.loads(prompt[prompt.rindex(ASKING) + len(ASKING) : prompt.rindex(END)])
    return str(called if "# Tools" in prompt else plain)


@cache
def obeying() -> EnsembleLLM:
    return ensemble(plain_and_call)


def saying(value: Any, name: str) -> tuple[ChatDeepen, str]:
    """A model, and what it is asked so that it gives this answer, as a call where it has tools."""
    wrapped = value if isinstance(value, dict) and name != "answer" else {"answer": value}
    call = f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(wrapped)}}}\n</tool_call>'
    chat = ChatDeepen(ensemble=obeying(), max_tokens=80, cache=InMemoryCache())
    return chat, ASKING + json.dumps([json.dumps(value), call])


@pytest.mark.parametrize(
    ("kind", "value", "name", "streamed", "method"),
    [
        (Cat | Dog, DOG, "answer", 1, METHODS[0]),
        (Perhaps, None, "answer", 1, METHODS[1]),
        (Color, "blue", "Color", 1, METHODS[0]),
        (Cat, CAT, "Cat", 1, METHODS[1]),
        (Joke, {"setup": "Why?", "rating": 2}, "Joke", 3, METHODS[0]),
        (Joke, {"setup": "Why?", "rating": 2}, "Joke", 3, METHODS[1]),
        (OBJECT | {"title": "N"}, {"n": 3}, "N", 2, METHODS[0]),
        (OBJECT | {"title": "N"}, {"n": 3}, "N", 2, METHODS[1]),
    ],
)
async def test_streams_end_with_the_whole_answer(kind: Any, value: Any, name: str, streamed: int, method: Any) -> None:
    model, asked = saying(value, name)
    wanted = value if isinstance(kind, dict) or kind is Joke else TypeAdapter(kind).validate_python(value)
    chain = model.with_structured_output(kind, method=method)
    given = [one async for one in chain.astream(asked)] if name == "answer" else list(chain.stream(asked))
    assert given[-1] == wanted
    assert len(given) >= streamed
    if streamed == 1:
        assert all(type(one) is type(wanted) for one in given)
    assert await chain.ainvoke(asked) == chain.invoke(asked) == wanted  # of the cache, but for the first


@both_methods
def test_a_stream_that_no_validator_takes_ends_in_the_error(method: Any) -> None:
    class Picky(Cat):
        @field_validator("lives")
        @classmethod
        def _never(cls, value: int) -> int:
            raise ValueError("too few")

    model, asked = saying(CAT, "Picky")
    with pytest.raises(OutputParserException, match="too few"):
        list(model.with_structured_output(Picky, method=method).stream(asked))
    raw = model.with_structured_output(Picky, method=method, include_raw=True).invoke(asked)
    assert isinstance(raw["parsing_error"], OutputParserException)


def test_a_message_without_the_call_is_no_answer() -> None:
    parser = random_chat(0).with_structured_output(Cat, method="function_calling").last  # type: ignore[attr-defined]
    with pytest.raises(OutputParserException, match="does not call 'Cat'"):
        parser.invoke(AIMessage("Miaow."))


@pytest.mark.parametrize(
    "kind",
    [Color, Node, Cat | Dog, Perhaps, Joke, list[int], OBJECT, pay],
    ids=lambda kind: str(getattr(kind, "__name__", kind)),
)
@pytest.mark.parametrize("method", [*METHODS, "json_mode", None])
def test_what_is_traced_is_json(kind: Any, method: Any) -> None:
    if method == "json_mode" and kind not in (Node, Joke, OBJECT, pay):
        with pytest.raises(ConfigError, match="json_mode holds answers to an object"):
            random_chat(0).with_structured_output(kind, method=method)
        return
    chain: Any = random_chat(0).with_structured_output(kind, method=method, strict=True)
    json.dumps(chain.first.kwargs)
    assert convert_to_openai_tool(chain.first.kwargs["ls_structured_output_format"]["schema"])["type"] == "function"


def test_a_type_alias_is_the_type_that_it_stands_for() -> None:
    alias = TypeAliasType("alias", Cat)  # type: ignore[misc]
    assert isinstance(random_chat(0).with_structured_output(alias).invoke("Any."), Cat)
