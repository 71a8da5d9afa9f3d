"""Histories of every provider, as plain messages: text in its order, calls and results, nothing dropped in silence."""

import json
from typing import Any

import pytest

from deepen_llm.errors import PromptError
from deepen_llm.tools.history import conversation

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"}
USER = {"role": "user", "content": "1+1?"}


def answered(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content), **more}


SAME: dict[str, list[Any]] = {
    "openai": [USER, {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}, RESULT],
    "openai, arguments as JSON": [
        USER,
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "add", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "2"}]},
    ],
    "responses": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "1+1?"}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "id": "f", "call_id": "c1", "name": "add", "arguments": '{"a": 1}', "status": "done"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ],
    "anthropic": [
        {"role": "user", "content": [{"type": "text", "text": "1+1?", "cache_control": {"type": "ephemeral"}}]},
        answered(
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
        ),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"text": "2"}]}]},
    ],
    "google": [
        {"role": "user", "parts": [{"text": "1+1?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Hm.", "thought": True},
                {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1}}},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "add", "response": 2}}]},
    ],
    "bedrock": [
        {"role": "user", "content": [{"text": "1+1?"}, {"cachePoint": {"type": "default"}}]},
        answered(
            {"reasoningContent": {"reasoningText": {"text": "Hm."}}},
            {"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}},
        ),
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": 2}]}}]},
    ],
    "langchain": [
        {"role": "human", "content": "1+1?"},
        {
            "role": "ai",
            "content": [
                {"type": "reasoning", "reasoning": "Hm."},
                {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}},
            ],
            "tool_calls": [CALL],
        },
        RESULT,
    ],
}


@pytest.mark.parametrize("provider", SAME)
def test_one_history_is_the_same_whoever_wrote_it(provider: str) -> None:
    assert conversation(SAME[provider]) == [USER, CALLED, RESULT]


def test_openai_s_first_form_of_calls_gets_its_ids() -> None:
    made = conversation(
        [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}},
            {"role": "function", "name": "add", "content": "2"},
        ]
    )
    assert made[1]["tool_calls"][0]["id"] == made[2]["tool_call_id"]
    assert made[2] == {**RESULT, "tool_call_id": made[2]["tool_call_id"]}


TEXTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "text", "text": "a", "citations": [{"type": "web_search_result_location"}], "annotations": []}, "a"),
    ({"type": "output_text", "text": "a"}, "a"),
    ({"type": "input_text", "text": "a"}, "a"),
    ({"type": "refusal", "refusal": "a"}, "a"),
    ({"type": "text-plain", "text": "a", "mime_type": "text/plain"}, "a"),
    ({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}, "T\na"),
    ({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, "a"),
    ({"type": "search_result", "title": "T", "content": [{"type": "text", "text": "a"}]}, "T\na"),
    ({"type": "executable_code", "executable_code": "x=1", "language": "PYTHON"}, "\n```python\nx=1\n```\n"),
    ({"executableCode": {"code": "x=1", "language": "PYTHON"}}, "\n```python\nx=1\n```\n"),
    ({"type": "code_execution_result", "code_execution_result": "1", "outcome": 1}, "\n```output\n1\n```\n"),
    ({"type": "invalid_tool_call", "name": "add", "args": '{"a"', "id": "x", "error": "no JSON"}, 'add({"a")'),
    ({"type": "non_standard", "value": {"type": "text", "text": "a"}}, "a"),
    ({"type": "reasoning", "reasoning": "Hm."}, ""),
    ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, ""),
    ({"type": "reasoning_content", "reasoning_content": {"text": "Hm."}}, ""),
]


@pytest.mark.parametrize(("block", "text"), TEXTS, ids=lambda one: one.get("type") if isinstance(one, dict) else "")
def test_a_block_s_text_is_read(block: dict[str, Any], text: str) -> None:
    (made,) = conversation([answered(block)])
    assert made == {"role": "assistant", "content": text}


REFUSED = [
    {"type": "image_url", "image_url": {"url": "data:"}},
    {"type": "input_image", "image_url": "data:"},
    {"type": "image", "base64": "x"},
    {"type": "image", "source": {"type": "base64", "data": "x"}},
    {"type": "audio", "base64": "x"},
    {"type": "input_audio", "input_audio": {"data": "x"}},
    {"type": "video", "url": "x"},
    {"type": "file", "file_id": "x"},
    {"type": "input_file", "file_id": "x"},
    {"type": "document", "source": {"type": "base64", "data": "x"}},
    {"type": "media", "data": "x"},
    {"type": "non_standard", "value": {"type": "hologram"}},
    {"inlineData": {"mimeType": "image/png", "data": "x"}},
]


@pytest.mark.parametrize("block", REFUSED, ids=lambda one: next(iter(one.values())) if "type" in one else "inline")
def test_what_is_no_text_is_refused_with_its_place_and_kind(block: dict[str, Any]) -> None:
    for content in ([{"type": "text", "text": "See:"}, block], [{"type": "tool_result", "content": [block]}]):
        with pytest.raises(PromptError, match=r"message 1 \(role 'user'\): expected text") as caught:
            conversation([USER, {"role": "user", "content": content}])
        assert str(block.get("type", "inlineData")) in str(caught.value)


def test_a_user_s_text_comes_after_the_results_beside_it() -> None:
    made = conversation(
        [
            USER,
            CALLED,
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "2", "is_error": False},
                    {"type": "text", "text": "And?"},
                ],
            },
        ]
    )
    assert made[2:] == [RESULT, {"role": "user", "content": "And?"}]
    assert [one.index for one in made] == [0, 1, 2, 2]


SERVED = [
    [
        {"type": "server_tool_use", "id": "s", "name": "search", "input": {"q": "x"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [{"type": "web_search_result", "title": "Ä", "encrypted_content": "zz"}],
        },
    ],
    [
        {"type": "server_tool_call", "id": "s", "name": "search", "args": {"q": "x"}},
        {"type": "server_tool_result", "tool_call_id": "s", "status": "success", "output": {"title": "Ä"}},
    ],
    [{"type": "mcp_call", "id": "s", "name": "search", "arguments": '{"q": "x"}', "output": '{"title": "Ä"}'}],
]


@pytest.mark.parametrize("served", SERVED, ids=["anthropic", "standard", "responses"])
def test_what_a_provider_s_tools_answered_stands_between_the_texts(served: list[Any]) -> None:
    made = conversation([USER, answered({"type": "text", "text": "Wait."}, *served, {"type": "text", "text": "So."})])
    assert [one["role"] for one in made] == ["user", "assistant", "tool", "assistant"]
    assert made[1]["tool_calls"][0]["function"] == {"name": "search", "arguments": {"q": "x"}}
    assert (made[1]["content"], made[3]["content"]) == ("Wait.", "So.")
    assert '"title": "Ä"' in made[2]["content"]
    assert "zz" not in made[2]["content"]


@pytest.mark.parametrize("data", [{"città": 3}, [{"città": 3}], [1, 2], 7, True])
def test_a_tool_s_data_is_told_as_json(data: Any) -> None:
    told = json.dumps(data, ensure_ascii=False)
    assert conversation([USER, CALLED, {"role": "tool", "tool_call_id": "c1", "content": data}])[2]["content"] == told
    block = {"type": "tool_result", "tool_use_id": "c1", "content": data}
    assert conversation([USER, CALLED, {"role": "user", "content": [block]}])[2]["content"] == told


def test_malformed_messages_are_told_by_their_place() -> None:
    for wrong, said in [
        (3, "message 1: expected a message, got 3"),
        ({"role": "user", "content": None}, r"message 1 \(role 'user'\): expected a message with content"),
        (
            {"role": "user", "content": "x", "tool_calls": [CALL]},
            r"message 1 \(role 'user'\): expected tool calls in an assistant",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": "{a"}}]},
            "message 1 .*: expected JSON as the arguments of the tool call 'add'",
        ),
        ({"type": "item_reference", "id": "x"}, "message 1: .*a block of type 'item_reference'"),
    ]:
        with pytest.raises(PromptError, match=said):
            conversation([USER, wrong])


def test_a_result_that_answers_no_call_is_left_to_the_template() -> None:
    alone = {"role": "tool", "tool_call_id": "zz", "content": "2"}
    assert conversation([USER, CALLED, alone])[2] == alone
