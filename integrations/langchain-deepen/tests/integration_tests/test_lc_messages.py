"""Messages of every kind, and of every provider, on their way to the core; and how their tokens are counted."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_deepen.messages import conversation as converted
from langchain_script import answers
from langchain_scripted import KNOWS_NONE, pieces, scripted

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError, PromptError
from deepen_llm.tools.history import conversation

STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}" + KNOWS_NONE
)
THINKING = (
    KNOWS_NONE + "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
HISTORY: list[BaseMessage] = [HumanMessage("Hello"), AIMessage("Hi, friend"), HumanMessage("And?"), AIMessage("So.")]
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def chat_with(template: str, **given: Any) -> ChatDeepen:
    tokenizer = pieces().__class__(
        tokenizer_object=pieces().backend_tokenizer,
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|turn|>"],
        chat_template=template,
    )
    return ChatDeepen(ensemble=EnsembleLLM([scripted("one", tokenizer, answers)]), **given)


def plain(*messages: BaseMessage) -> list[dict[str, Any]]:
    return [dict(one) for one in conversation(converted(messages))]


def test_a_system_message_reaches_a_template_that_has_no_role_for_it() -> None:
    chat = chat_with(STRICT)
    one = chat.ensemble.main_model  # type: ignore[union-attr]
    assert "Be brief.\n\nHello" in one.render(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    )
    assert chat.invoke([SystemMessage("Be brief."), HumanMessage("Hello")], max_tokens=4).usage_metadata


@pytest.mark.parametrize("strategy", ["first", "last"])
@pytest.mark.parametrize("partial", [False, True])
def test_messages_are_trimmed_by_a_template_that_is_strict(strategy: Any, partial: bool) -> None:
    chat = chat_with(STRICT)
    whole = chat.get_num_tokens_from_messages(HISTORY)
    for limit in (0, 24, whole - 1, whole):
        kept = trim_messages(HISTORY, max_tokens=limit, strategy=strategy, allow_partial=partial, token_counter=chat)
        assert len(kept) <= len(HISTORY)
        assert not kept or chat.get_num_tokens_from_messages(kept) <= limit or partial
    backwards = chat.get_num_tokens_from_messages(HISTORY[::-1])  # what LangChain counts, an empty turn at its head
    most = max(whole, backwards)
    assert trim_messages(HISTORY, max_tokens=most, strategy=strategy, token_counter=chat) == HISTORY
    assert most - whole < 12
    if strategy == "last":
        told = [SystemMessage("Be brief."), *HISTORY]
        kept = trim_messages(
            told,
            max_tokens=60,
            strategy="last",
            include_system=True,
            start_on="human",
            end_on="human",
            token_counter=chat,
        )
        assert kept[0] == told[0]


def test_every_part_of_a_history_has_a_number_of_tokens() -> None:
    call = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}])
    everything = [SystemMessage("Be brief."), HumanMessage("Hi"), call, ToolMessage("2", tool_call_id="c1"), *HISTORY]
    picky = STRICT + "{% if messages | length > 2 %}{{ raise_exception('no more') }}{% endif %}"
    for chat in (chat_with(STRICT), chat_with(picky), chat_with(KNOWS_NONE)):
        assert chat.get_num_tokens_from_messages([]) == 0
        for start in range(len(everything)):
            for part in (everything[start:], everything[start::-1], everything[start : start + 1]):
                assert chat.get_num_tokens_from_messages(part) > 0
    with pytest.raises(PromptError, match="expected text"):
        chat.get_num_tokens_from_messages([HumanMessage([{"type": "image", "url": "https://example.com/cat.png"}])])


def test_variables_of_the_template_from_the_instance_and_from_the_call() -> None:
    shut, asked = chat_with(THINKING, chat_template_kwargs={"enable_thinking": False}), [HumanMessage("Hello")]
    opened = chat_with(THINKING)

    def read(chat: Any, **given: Any) -> int:
        used = chat.invoke(asked, max_tokens=1, **given).usage_metadata
        return int(used["input_tokens"])

    more = read(shut) - read(opened)
    assert more > 0
    assert read(opened, chat_template_kwargs={"enable_thinking": False}) == read(shut)
    assert read(shut, chat_template_kwargs={"enable_thinking": True}) == read(opened)
    assert shut.get_num_tokens_from_messages(asked) - opened.get_num_tokens_from_messages(asked) == more
    assert shut._get_llm_string() != opened._get_llm_string()
    with pytest.raises(ConfigError, match="'tools' is no variable"):
        chat_with(THINKING, chat_template_kwargs={"tools": []})
    with pytest.raises(ConfigError, match="no chat template renders"):
        DeepenLLM(ensemble=opened.ensemble).invoke("x", chat_template_kwargs={"enable_thinking": False})


def test_a_last_message_of_the_ai_goes_on_where_it_is_asked_for() -> None:
    chat = chat_with(KNOWS_NONE, max_tokens=1)
    begun = [HumanMessage("Hello"), AIMessage("Well,")]
    on, anew = chat.invoke(begun, continue_final_message=True), chat.invoke(begun)
    prefixed = chat.invoke([HumanMessage("Hello"), AIMessage("Well,", additional_kwargs={"prefix": True})])
    counts = [one.usage_metadata["input_tokens"] for one in (on, prefixed, anew)]  # type: ignore[index]
    assert counts[0] == counts[1] < counts[2]
    assert chat._get_llm_string() != chat._get_llm_string(continue_final_message=True)


BLOCKS: dict[str, list[BaseMessage]] = {
    "own": [AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}])],
    "anthropic": [
        AIMessage(
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {}, "partial_json": '{"a": 1}'},
            ],
            tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}],
        )
    ],
    "openai": [
        AIMessage(
            [{"type": "function_call", "id": "fc", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}],
            tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}],
        )
    ],
    "additional_kwargs": [
        AIMessage(
            "", additional_kwargs={"tool_calls": [{**CALL, "function": {"name": "add", "arguments": '{"a": 1}'}}]}
        )
    ],
    "standard": [
        AIMessage(
            content_blocks=[
                {"type": "reasoning", "reasoning": "Hm."},
                {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}},
            ]
        )
    ],
    "chat message": [
        ChatMessage(role="assistant", content=[{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}])
    ],
}


@pytest.mark.parametrize("provider", BLOCKS)
def test_a_call_is_told_once_whatever_form_it_has(provider: str) -> None:
    assert plain(HumanMessage("Hi"), *BLOCKS[provider])[1] == CALLED


def test_results_and_other_messages_are_told() -> None:
    told = plain(
        HumanMessage("Hi", name="Ann"),
        *BLOCKS["own"],
        ToolMessage([{"type": "text", "text": "2"}], tool_call_id="c1", status="error", artifact={"x": 1}),
        AIMessage([{"type": "text", "text": "Two", "annotations": [{"type": "citation", "url": "x"}]}, "."]),
        FunctionMessage("3", name="add"),
        ChatMessage(role="developer", content="Be brief."),
        AIMessage(""),
        AIMessage("", additional_kwargs={"refusal": "No."}),
        HumanMessage([{"type": "tool_result", "tool_use_id": "c9", "content": [{"type": "text", "text": "9"}]}]),
    )
    assert told[0] == {"role": "user", "content": "Hi", "name": "Ann"}
    assert told[2] == {"role": "tool", "content": "2", "tool_call_id": "c1", "name": "add"}
    assert [(one["role"], one["content"]) for one in told[3:]] == [
        ("assistant", "Two."),
        ("tool", "3"),
        ("system", "Be brief."),
        ("assistant", ""),
        ("assistant", "No."),
        ("tool", "9"),
    ]


def test_a_call_that_its_model_wrote_wrongly_stays_readable() -> None:
    wrong = {"name": "add", "args": '{"a": ', "id": "c1", "error": "no JSON"}
    for message in (
        AIMessage("I add.", invalid_tool_calls=[wrong]),
        AIMessage(["I add.", {**wrong, "type": "invalid_tool_call"}], invalid_tool_calls=[wrong]),
    ):
        (told,) = plain(message)
        assert told == {"role": "assistant", "content": 'I add.add({"a": )'}


@pytest.mark.parametrize("kind", ["image", "audio", "video", "file"])
def test_what_is_no_text_is_refused_with_its_place(kind: str, chat: ChatDeepen) -> None:
    block = {"type": kind, "base64": "AAAA", "mime_type": "x/y"}
    for message in (HumanMessage([block]), ToolMessage([block], tool_call_id="c1"), AIMessage([block])):
        with pytest.raises(
            PromptError, match=rf"message 1 \(role '\w+'\): expected text, .* got a block of type '{kind}'"
        ):
            chat.invoke([HumanMessage("Hi"), message])
    with pytest.raises(PromptError, match="message 1 of type RemoveMessage"):
        chat.invoke([HumanMessage("Hi"), RemoveMessage(id="1")])
    with pytest.raises(PromptError, match=r"message 1 \(role 'narrator'\)"):
        chat.invoke([HumanMessage("Hi"), ChatMessage(role="narrator", content="So it was.")])
