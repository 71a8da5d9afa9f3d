"""Messages as callers write them, in the one form that templates take."""

from typing import Any

import pytest

from deepen_llm.errors import PromptError
from deepen_llm.outputs import Output, Sample, Usage
from deepen_llm.tools import Tool, ToolCall
from deepen_llm.tools.messages import normalized
from deepen_llm.tools.plain_text import in_words

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = Tool("add", "Add.", {"type": "object", "properties": {}})


def called(**call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"text": "a"}, "b"], "ab"),
        ({"type": "text", "text": "a"}, "a"),
        ([], ""),
    ],
)
def test_content_is_text(content: Any, text: str) -> None:
    assert normalized({"role": "user", "content": content}) == {"role": "user", "content": text}


@pytest.mark.parametrize(
    "content", [[{"type": "image_url", "image_url": {"url": "x"}}], [{"type": "text", "text": 3}], 7, [None], {"a": 1}]
)
def test_what_is_no_text_is_refused(content: Any) -> None:
    with pytest.raises(PromptError, match="expected text, the only content that these models support, got"):
        normalized({"role": "user", "content": content})


@pytest.mark.parametrize("message", [3, "hello", {}, {"content": "x"}, {"role": 3, "content": "x"}, None])
def test_what_is_no_message_is_refused(message: Any) -> None:
    with pytest.raises(PromptError, match="expected a message, got"):
        normalized(message)


def test_no_content_is_only_for_calls() -> None:
    with pytest.raises(PromptError, match="expected a message with content or tool calls, got"):
        normalized({"role": "assistant", "content": None})
    with pytest.raises(PromptError, match="expected a message with content or tool calls, got"):
        normalized({"role": "assistant", "tool_calls": []})
    assert normalized({"role": "assistant", "content": "x", "tool_calls": []}) == {"role": "assistant", "content": "x"}
    assert normalized(called(**CALL)) == {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1}', ' {"a":1}\n'])
def test_arguments_are_a_mapping(arguments: Any) -> None:
    given = called(id="1", type="function", function={"name": "add", "arguments": arguments})
    assert normalized(given)["tool_calls"] == [CALL]


@pytest.mark.parametrize("arguments", [None, "", {}, "{}"])
def test_no_arguments_are_none(arguments: Any) -> None:
    made = normalized(called(function={"name": "add", "arguments": arguments}))["tool_calls"][0]
    assert made == {"id": "", "type": "function", "function": {"name": "add", "arguments": {}}}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"function": {"name": "add", "arguments": "{a"}}, "expected JSON as the arguments of the tool call 'add'"),
        (
            {"function": {"name": "add", "arguments": "[1]"}},
            "expected an object as the arguments of the tool call 'add', got",
        ),
        (
            {"function": {"name": "add", "arguments": [1]}},
            "expected an object as the arguments of the tool call 'add', got",
        ),
        ({"function": {"arguments": {}}}, "expected a tool call, got"),
        ({"name": 3}, "expected a tool call, got"),
        ({"function": "add"}, "expected a tool call, got"),
    ],
)
def test_malformed_calls_are_refused(call: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        normalized(called(**call))


def test_an_output_s_message_goes_back_in() -> None:
    call = ToolCall("add", {"a": 1})
    sample = Sample("I add.", (1,), "eos", tool_calls=(call,))
    message = normalized(Output((sample,), Usage(1, 1)).message)
    described = {"name": "add", "arguments": {"a": 1}}
    assert message["tool_calls"] == [{"id": call.id, "type": "function", "function": described}]
    assert message["content"] == "I add."
    assert normalized(Sample("x", (1,), "eos").message) == {"role": "assistant", "content": "x"}


def test_other_fields_are_kept() -> None:
    given = {"role": "tool", "content": "3", "tool_call_id": "1", "name": "add"}
    assert normalized(given) == given


def test_tools_in_words() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}
    told = in_words([system, user], [TOOL])
    assert told[0]["content"].startswith("Be brief.\n\n# Tools")
    assert '"name": "add"' in told[0]["content"]
    assert told[1] == user
    alone = in_words([user], [TOOL])
    assert len(alone) == 1
    assert alone[0]["content"].endswith("\n\n1+1?")
    history = [
        user,
        normalized(called(**CALL)),
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "3"},
        user,
    ]
    plain = in_words(history, [])
    assert [message["role"] for message in plain] == ["user", "assistant", "user"]
    assert plain[1]["content"] == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert plain[2]["content"] == "<tool_response>\n2\n</tool_response>\n<tool_response>\n3\n</tool_response>\n1+1?"
    assert history[0] == user
