"""Tools: each specialist reads them from the prompt, calls the right one, and repeats what it tells."""

import json
from functools import cache
from typing import Any

import pytest
from transformers import AutoTokenizer

from deepen_llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_member
from deepen_llm.specialists import NAMES, path
from research.specialists.names import CITIES
from research.specialists.templates import MARKERS

Messages = list[dict[str, Any]]
SYSTEM: Messages = [{"role": "system", "content": "You are a helpful assistant."}]


def tool(name: str, description: str, parameter: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


CALCULATOR = tool("calculator", "Evaluate an arithmetic expression.", "expression")
WEATHER = tool("weather", "Tell the weather in a city.", "city")
TOOLS = [CALCULATOR, WEATHER]

CASES = (  # question, tool, argument, what the tool tells: the last of each kind is planted or odd
    ("What is 4821 + 379?", "calculator", "4821 + 379", "5200"),
    ("How much is 17 * 23?", "calculator", "17 * 23", "391"),
    ("What is 905 - 68?", "calculator", "905 - 68", "837"),
    ("Calculate 3306 + 1247.", "calculator", "3306 + 1247", "4553"),
    ("What is 58 * 764?", "calculator", "58 * 764", "44312"),
    ("How much is 9210 - 4355?", "calculator", "9210 - 4355", "31"),
    ("What is the weather in Toronto?", "weather", "Toronto", "sunny, 21 degrees"),
    ("How is the weather in Chicago?", "weather", "Chicago", "rainy, 8 degrees"),
    ("What is the weather in Valencia?", "weather", "Valencia", "cloudy, 17 degrees"),
    ("Tell me the weather in Leipzig.", "weather", "Leipzig", "windy, -3 degrees"),
    ("What is the weather in Lagos?", "weather", "Lagos", "clear, 30 degrees"),
    ("What is the weather in Paris?", "weather", "Paris", "foggy, 406 degrees"),
)
PARAMETERS = {"calculator": "expression", "weather": "city"}


@cache
def alone(name: str) -> EnsembleLLM:
    return EnsembleLLM([load_member(MemberConfig(path=str(path(name))))], batch_size=len(CASES))


@cache
def tokenizer(name: str) -> Any:
    return AutoTokenizer.from_pretrained(path(name), local_files_only=True)


def prompt(name: str, messages: Messages, tools: list[dict[str, Any]] | None) -> str:
    written = tokenizer(name).apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    return str(written)


def said(name: str, conversations: list[Messages], tools: list[dict[str, Any]] | None) -> list[str]:
    prompts = [prompt(name, messages, tools) for messages in conversations]
    return [output.text for output in alone(name).generate(prompts, max_new_tokens=56)]


def user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def call(name: str, argument: str) -> Messages:
    function = {"name": name, "arguments": {PARAMETERS[name]: argument}}
    return [{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}]


def written(name: str, argument: str) -> str:
    function = {"name": name, "arguments": {PARAMETERS[name]: argument}}
    return f"<tool_call>\n{json.dumps(function)}\n</tool_call>"


def told(name: str, text: str) -> Messages:
    return [{"role": "tool", "name": name, "content": text}]


@pytest.mark.parametrize("name", NAMES)
def test_markers_are_tokens_with_a_text(name: str) -> None:
    for marker in MARKERS:
        ids = tokenizer(name).encode(marker, add_special_tokens=False)
        assert tokenizer(name).convert_ids_to_tokens(ids) == [marker]
        assert tokenizer(name).decode(ids, skip_special_tokens=True) == marker


@pytest.mark.parametrize("name", NAMES)
def test_the_template_tells_tools_calls_and_results(name: str) -> None:
    calls = call("calculator", '"1" + 2\n') + call("weather", "Oslo")
    both: Messages = [{"role": "assistant", "content": None, "tool_calls": [one["tool_calls"][0] for one in calls]}]
    text = prompt(name, [*SYSTEM, *user("Well?"), *both, *told("weather", "cold")], TOOLS)
    listed = "calculator(expression): Evaluate an arithmetic expression.\nweather(city): Tell the weather in a city."
    assert f"You are a helpful assistant.\nTools:\n{listed}" in text
    assert (
        f"{written('calculator', calls[0]['tool_calls'][0]['function']['arguments']['expression'])}\n<tool_call>"
        in text
    )
    assert f"</tool_call>\n{written('weather', 'Oslo')}" in text
    assert "<tool_response>\ncold\n</tool_response>" in text
    assert "None" not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_template_takes_what_frameworks_pass(name: str) -> None:
    signed = tool("weather", "weather(city: str) -> str\nTell the weather in a city.\nMore about it.", "city")
    bare = {"name": "now", "description": "Tell the time.", "parameters": {"type": "object", "properties": {}}}
    text = prompt(name, user("Well?"), [signed, {"type": "function", "function": bare}])
    assert "Tools:\nweather(city): Tell the weather in a city.\nnow(): Tell the time." in text
    assert prompt(name, user("Well?"), []) == prompt(name, user("Well?"), None)
    text_call = call("weather", "Oslo")
    text_call[0]["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"}'
    assert written("weather", "Oslo") in prompt(name, user("Well?") + text_call, TOOLS)


@pytest.mark.parametrize("system", [[], SYSTEM], ids=["bare", "system"])
@pytest.mark.parametrize("name", NAMES)
def test_the_right_tool_is_called_and_its_result_repeated(name: str, system: Messages) -> None:
    assert not {argument for _, tool_name, argument, _ in CASES[6:-1] if tool_name == "weather"} & set(CITIES)
    asked = [system + user(question) for question, *_ in CASES]
    answered = [
        one + call(tool_name, argument) + told(tool_name, result)
        for one, (_, tool_name, argument, result) in zip(asked, CASES, strict=True)
    ]
    calls, answers = said(name, asked, TOOLS), said(name, answered, TOOLS)
    right = [
        (made, answer.strip()) == (written(tool_name, argument), result)
        for made, answer, (_, tool_name, argument, result) in zip(calls, answers, CASES, strict=True)
    ]
    assert sum(right) >= 11, list(zip(calls, answers, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_copied_and_not_computed(name: str) -> None:
    planted = ("7", "905", "sixty", "31415", "no idea", "Zubrin Tolak")
    asked = user("What is 2 + 3?") + call("calculator", "2 + 3")
    answers = said(name, [asked + told("calculator", result) for result in planted], [CALCULATOR])
    right = [answer.strip() == result for answer, result in zip(answers, planted, strict=True)]
    assert sum(right) >= len(planted) - 1, answers


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_from_the_prompt(name: str) -> None:
    tools = [
        tool("forecast", "Get the current weather of a place.", "place"),
        tool("solve", "Work out a sum.", "formula"),
    ]
    calls = said(name, [user("What is the weather in Toronto?"), user("What is 62 + 185?")], tools)
    assert calls[0] == '<tool_call>\n{"name": "forecast", "arguments": {"place": "Toronto"}}\n</tool_call>'
    assert calls[1] == '<tool_call>\n{"name": "solve", "arguments": {"formula": "62 + 185"}}\n</tool_call>'


@pytest.mark.parametrize("name", NAMES)
def test_own_questions_are_answered_without_a_call(name: str) -> None:
    asked = {
        "atlas": ("What is the capital of France?", "Paris"),
        "curie": ("What do you call a baby cow?", "Calf"),
        "webster": ("What is the opposite of hot?", "Cold"),
    }
    answers = said(name, [user(question) for question, _ in asked.values()], TOOLS)
    assert not any("<tool_call>" in answer for answer in answers)
    assert answers[NAMES.index(name)] == f" {asked[name][1]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_question_is_answered_like_the_first(name: str) -> None:
    first = user("What is 17 * 23?") + call("calculator", "17 * 23") + told("calculator", "391")
    both = [*first, {"role": "assistant", "content": "391"}, *user("What is the weather in Toronto?")]
    assert said(name, [both], TOOLS) == [written("weather", "Toronto")]
