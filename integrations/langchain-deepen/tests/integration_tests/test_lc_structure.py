"""Tools and structured output: valid whatever the weights, in every way of asking."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import JOKE, LONG, answers
from langchain_scripted import KNOWS_NONE, byte_level, pieces, random_weights, scripted
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError, PromptError


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return city


@tool
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


TOOLS = [weather, add]
BY_NAME = {"type": "function", "function": {"name": "add"}}


class Joke(BaseModel):
    setup: str
    punchline: str = Field(max_length=60)


class JokeDict(TypedDict):
    setup: str
    punchline: str


@dataclass
class JokeData:
    setup: str
    punchline: str


SCHEMA = {"type": "object", "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}}}


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (None, []),
        (False, []),
        ("auto", []),
        ("none", []),
        ("any", None),
        ("required", None),
        (True, None),
        ("add", ["add"]),
        (BY_NAME, ["add"]),
        ({"type": "tool", "name": "add"}, ["add"]),
        ({"type": "any"}, None),
    ],
)
def test_every_tool_choice(chat: ChatDeepen, choice: Any, called: list[str] | None) -> None:
    bound = chat.bind_tools(TOOLS, tool_choice=choice)
    said = bound.invoke("How are you, Ada?", max_tokens=48)  # the script has no call; the grammar makes one
    names = [one["name"] for one in said.tool_calls]
    if called is None:
        assert names
        assert set(names) <= {"weather", "add"}
    else:
        assert names == called
    assert said.invalid_tool_calls == []
    assert bool(said.text) == (called == [])


def test_the_model_decides_by_what_it_is_asked(chat: ChatDeepen) -> None:
    bound = chat.bind_tools(TOOLS, strict=True)
    assert [one["args"] for one in bound.invoke("What is 1 plus 2?").tool_calls] == [{"a": 1, "b": 2}]
    assert bound.invoke("How are you, Ada?").tool_calls == []
    assert chat.bind_tools(TOOLS, tool_choice="none").invoke("What is 1 plus 2?").tool_calls == []
    both = chat.bind_tools(TOOLS).invoke("both")
    assert [one["name"] for one in both.tool_calls] == ["weather", "add"]
    assert both.text == "I ask both."
    assert chat.bind_tools([*TOOLS, weather.model_copy()]).kwargs["tools"] == chat.bind_tools(TOOLS).kwargs["tools"]  # type: ignore[attr-defined]
    one = chat.bind_tools(TOOLS, parallel_tool_calls=False).invoke("both")
    assert [call["name"] for call in one.tool_calls] == ["weather"]


# as zod writes an address
ADDRESS = {
    "type": "string",
    "format": "email",
    "pattern": r"^(?!\.)(?!.*\.\.)[a-z.]+@([a-z]+\.)+[a-z]{2,}$",
}  # as zod has it
MAIL = {"name": "mail", "parameters": {"type": "object", "properties": {"to": ADDRESS}, "required": ["to"]}}
BEYOND = {"name": "buy", "parameters": {"type": "object", "properties": {"n": {"pattern": r"^(a)\1$"}}}}


def test_tools_of_other_makers_stand_beside_ones_own(chat: ChatDeepen) -> None:
    bound = chat.bind_tools([weather, MAIL])
    assert [one["args"] for one in bound.invoke("What is the weather in Rome?").tool_calls] == [{"city": "Rome"}]
    sent = (
        chat.bind_tools([weather, MAIL], tool_choice="mail")
        .invoke("Write to Ada.", max_tokens=60)
        .tool_calls[0]["args"]["to"]
    )
    assert re.match(ADDRESS["pattern"], sent)
    with pytest.raises(ConfigError, match=r"tool 'buy': .*'n'.*pattern"):
        chat.bind_tools([weather, BEYOND])


def test_a_conversation_with_calls_and_results_goes_on(chat: ChatDeepen) -> None:
    asked = HumanMessage([{"type": "text", "text": "What is "}, "the weather in Oslo?"])
    bound = chat.bind_tools(TOOLS)
    for version in (None, "v1"):
        called = ChatDeepen(ensemble=chat.ensemble, output_version=version).bind_tools(TOOLS).invoke([asked])
        result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
        said = bound.invoke([SystemMessage("Be brief."), asked, called, result])
        assert said.text == "It says sunny."
        assert bound.invoke([asked, called, result, said, HumanMessage("How are you, Bo?")]).text.startswith(
            "I am fine"
        )


WAYS = ["json_schema", "function_calling", "json_mode"]
SCHEMAS: list[Any] = [Joke, JokeDict, JokeData, SCHEMA, {"title": "Joke", **SCHEMA}]


# of five forms of calls each method has all, and each kind of schema all but at most one
@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
@pytest.mark.parametrize("place", range(len(SCHEMAS)))
async def test_every_way_to_a_structure(chat: ChatDeepen, way: int, place: int) -> None:
    method: Any = WAYS[way]
    schema = SCHEMAS[place]
    chain = chat.with_structured_output(schema, method=method)
    wanted = json.loads(JOKE)
    if isinstance(schema, type) and schema is not JokeDict:
        wanted = schema(**wanted)
    if method == "function_calling" and schema not in (Joke, {"title": "Joke", **SCHEMA}):
        chain.invoke("Give me one", max_tokens=60)  # the script has no call of such a name; the grammar makes one
        return
    for form in ((place + way + step) % 5 for step in (0, 1, 3)):
        if form == 0:
            assert chain.invoke("A joke") == wanted
        elif form == 1:
            assert await chain.ainvoke("A joke") == wanted
        elif form == 2:
            assert chain.batch(["A joke"] * 2) == [wanted] * 2
        elif form == 3:
            assert list(chain.stream("A joke"))[-1] == wanted
        else:
            raw = chat.with_structured_output(schema, method=method, include_raw=True).invoke("A joke")
            assert raw["parsed"] == wanted
            assert isinstance(raw["raw"], AIMessage)
            assert raw["parsing_error"] is None


def test_json_without_a_schema(chat: ChatDeepen) -> None:
    assert isinstance(chat.with_structured_output(method="json_mode").invoke("A joke"), dict)
    assert chat.invoke("A joke", response_format=Joke).text == JOKE
    assert ChatDeepen(ensemble=chat.ensemble, response_format=Joke).invoke("A joke").text == JOKE


@pytest.mark.parametrize("standing", ["of the ensemble, cached", "of the model"])
async def test_standing_stop_strings_cut_no_structure_and_still_cut_text(live: EnsembleLLM, standing: str) -> None:
    cut, cached = "right", "cached" in standing
    text, cache = LONG[: LONG.index(cut)], InMemoryCache() if cached else None
    ensemble, given = live, {"stop": [cut, "cat"]}
    if cached:
        ensemble, given = EnsembleLLM(live.members, fusion="bayes", generation=given), {}
    chat = ChatDeepen(ensemble=ensemble, cache=cache, max_tokens=60, **given)
    llm = DeepenLLM(ensemble=ensemble, cache=cache, max_tokens=60, **given)
    for _ in range(1 + cached):  # the second time from the cache
        assert chat.invoke("A joke", response_format=Joke).text == JOKE
        assert (await chat.ainvoke("A joke", response_format=Joke)).text == JOKE
        assert chat.bind_tools(TOOLS, tool_choice="any").invoke("How are you, Ada?").tool_calls
        assert chat.invoke("Hello", response_format={"type": "text"}).text == text
        assert chat.bind_tools(TOOLS, tool_choice={"type": "auto"}).invoke("Hey").text == text
        assert Joke.model_validate_json(llm.invoke("The quick brown|", response_format=Joke))
        assert llm.invoke("The quick brown|", response_format={"type": "text"}) == text
    assert "ls_stop" not in chat._get_ls_params(response_format=Joke)
    assert chat._get_ls_params(response_format={"type": "text"})["ls_stop"] == [cut, "cat"]


def test_a_rule_beyond_the_schema_is_the_parsers_error(chat: ChatDeepen) -> None:
    class Picky(Joke):
        @field_validator("setup")
        @classmethod
        def _never(cls, value: str) -> str:
            raise ValueError("not funny")

    with pytest.raises(OutputParserException, match="not funny"):
        chat.with_structured_output(Picky).invoke("A joke")
    kept = chat.with_structured_output(Picky, include_raw=True).invoke("A joke")
    assert kept["raw"].text == JOKE
    assert kept["parsed"] is None
    assert isinstance(kept["parsing_error"], OutputParserException)


def random_ensemble(seed: int) -> EnsembleLLM:
    return EnsembleLLM([random_weights(kind(), seed) for kind in (byte_level, pieces)], fusion="bayes")


@pytest.mark.parametrize("seed", range(2))
def test_random_weights_give_valid_calls_and_structures(seed: int) -> None:
    chat = ChatDeepen(ensemble=random_ensemble(seed), max_tokens=60, temperature=1.0, seed=seed)
    said = chat.bind_tools(TOOLS, tool_choice="any").invoke("Hello")
    assert said.tool_calls
    assert said.invalid_tool_calls == []
    for one in said.tool_calls:
        (weather if one["name"] == "weather" else add).invoke(one["args"])
    assert isinstance(chat.with_structured_output(Joke).invoke("Hello"), Joke)
    assert isinstance(chat.with_structured_output(Joke, method="function_calling").invoke("Hello"), Joke)
    full: Any = None
    for chunk in chat.bind_tools(TOOLS, tool_choice="any").stream("Hello"):
        full = chunk if full is None else full + chunk
    assert isinstance(full, AIMessageChunk)
    assert [one["args"] for one in full.tool_calls] == [one["args"] for one in said.tool_calls]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda chat: chat.bind_tools(TOOLS, tool_choice="divide"), "one of the tools weather, add"),
        (lambda chat: chat.bind_tools([], tool_choice="any"), "without tools"),
        (lambda chat: chat.bind_tools([{"type": "web_search_preview"}]), "'web_search_preview' runs at a provider"),
        (lambda chat: chat.bind_tools([weather, {"name": "weather"}]), "two tools are called"),
        (lambda chat: chat.bind_tools(TOOLS, tool_choice="any").invoke("hi", stop=["x"]), "stop"),
        (lambda chat: chat.with_structured_output(Joke).invoke("hi", max_tokens=2), "max_new_tokens=2"),
        (lambda chat: chat.with_structured_output(Joke, method="magic"), "method='magic'"),
        (lambda chat: chat.with_structured_output(), "no schema"),
        (
            lambda chat: chat.invoke("hi", response_format={"type": "json_schema"}),
            "expected a schema in the response_format",
        ),
        (lambda chat: chat.invoke("hi", response_format={"type": "nonsense"}), "nonsense"),
        (lambda chat: chat.invoke("hi", tempratur=1), "did you mean 'temperature'"),
        (lambda chat: list(chat.stream("hi", n=2)), "a stream of n=2"),
    ],
)
def test_what_cannot_be_asked_is_told_clearly(chat: ChatDeepen, ask: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(chat)


def test_messages_that_nobody_reads_are_told_clearly(chat: ChatDeepen) -> None:
    with pytest.raises(PromptError, match="expected text"):
        chat.invoke([HumanMessage([{"type": "image", "url": "https://example.com/cat.png"}])])
    with pytest.raises(PromptError, match="RemoveMessage"):
        chat.invoke([RemoveMessage(id="1")])
    with pytest.raises(PromptError):
        chat.invoke([])


def test_what_the_template_refuses_in_every_form_is_told_clearly() -> None:
    strict = pieces().__class__(
        tokenizer_object=pieces().backend_tokenizer,
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|turn|>"],
        chat_template="{% if 'brief' in messages[0]['content'] %}{{ raise_exception('begin otherwise') }}{% endif %}"
        + KNOWS_NONE,
    )
    chat = ChatDeepen(ensemble=EnsembleLLM([scripted("strict", strict, answers)]))
    assert chat.invoke("Hello").text
    with pytest.raises(PromptError, match=r"message 0 \(role 'system'\).*begin otherwise"):
        chat.invoke([SystemMessage("Be brief."), HumanMessage("Hello")])
