"""Messages of every kind on their way to the ensemble, and the memories that count them."""

from types import SimpleNamespace
from typing import Any

import pytest
from deepen_li_members import REFUSING, TEMPLATE, fresh, speaking
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer
from llama_index.llms.deepen import DeepenLLM
from llama_index.llms.deepen.messages import conversation

from deepen_llm.errors import ConfigError, PromptError
from deepen_llm.tools import history

THINKING = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}"


def plain(*messages: ChatMessage) -> list[dict[str, Any]]:
    return [dict(one) for one in history.conversation(conversation(messages))]


def test_a_system_message_reaches_a_template_that_has_no_role_for_it() -> None:
    heard: list[str] = []
    llm = DeepenLLM(
        ensemble=fresh(lambda prompt: heard.append(prompt) or " Paris", marks=("<answer>",), template=REFUSING)
    )
    told = [ChatMessage("Be brief.", role=MessageRole.SYSTEM), ChatMessage("The capital of France?")]
    assert llm.chat(told).message.content == " Paris"
    assert heard[0] == "<user>Be brief.\n\nThe capital of France?<answer>"
    assert llm.messages_to_prompt(told) == heard[0]


def test_blocks_are_read_and_what_is_no_text_is_refused_with_its_place() -> None:
    (told,) = plain(
        ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=[
                ThinkingBlock(content="Hm."),
                TextBlock(text="a"),
                CachePoint(cache_control=CacheControl(type="ephemeral")),
                CitableBlock(title="T", source="S", content=[TextBlock(text="b")]),
                CitationBlock(cited_content=TextBlock(text="c"), source="S", title="T", additional_location_info={}),
                ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs='{"a": 1}'),
            ],
            additional_kwargs={"tool_calls": [SimpleNamespace(model_dump=lambda: {"id": "c1"})]},
        )
    )
    assert told["content"] == "a\nb\nc"
    assert [call["function"] for call in told["tool_calls"]] == [{"name": "add", "arguments": {"a": 1}}]
    for block, kind in (
        (ImageBlock(image=b"GIF89a"), "image"),
        (AudioBlock(audio=b"x"), "audio"),
        (DocumentBlock(data=b"x"), "document"),
        (CitableBlock(title="T", source="S", content=[ImageBlock(image=b"GIF89a")]), "image"),
    ):
        with pytest.raises(PromptError, match=rf"message 1 \(role 'user'\) has a {kind} block"):
            plain(ChatMessage("Hi"), ChatMessage(blocks=[TextBlock(text="See:"), block]))


def test_calls_of_openai_s_package_and_roles_of_others_are_known() -> None:
    described = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    called = ChatMessage(
        role=MessageRole.MODEL, additional_kwargs={"tool_calls": [SimpleNamespace(model_dump=lambda: described)]}
    )
    told = plain(
        ChatMessage("Hi", role=MessageRole.DEVELOPER),
        called,
        ChatMessage("2", role=MessageRole.FUNCTION, additional_kwargs={"name": "add"}),
        ChatMessage("Two", role=MessageRole.CHATBOT),
    )
    assert [one["role"] for one in told] == ["system", "assistant", "tool", "assistant"]
    assert told[2]["tool_call_id"] == "c1"


def test_variables_of_the_template_from_the_instance_and_from_the_call() -> None:
    heard: list[str] = []
    ensemble = fresh(lambda prompt: heard.append(prompt) or "x", marks=("<think></think>",), template=THINKING)
    shut, opened = (
        DeepenLLM(ensemble=ensemble, chat_template_kwargs={"enable_thinking": False}),
        DeepenLLM(ensemble=ensemble),
    )
    asked = [ChatMessage("Hi")]

    def read(llm: DeepenLLM, **given: Any) -> int:
        return int(llm.chat(asked, max_new_tokens=1, **given).raw["usage"]["prompt_tokens"])

    assert read(shut) > read(opened)
    assert read(opened, chat_template_kwargs={"enable_thinking": False}) == read(shut)
    assert read(shut, chat_template_kwargs={"enable_thinking": True}) == read(opened)
    assert shut.complete("The", max_new_tokens=1).text is not None
    with pytest.raises(ConfigError, match="'messages' is no variable"):
        DeepenLLM(ensemble=ensemble, chat_template_kwargs={"messages": []})
    begun = [*asked, ChatMessage("Well,", role=MessageRole.ASSISTANT)]
    assert opened.chat(begun, continue_final_message=True, max_new_tokens=1).raw["usage"]["prompt_tokens"] < int(
        opened.chat(begun, max_new_tokens=1).raw["usage"]["prompt_tokens"]
    )


def test_memories_with_little_room_give_histories_that_any_template_takes() -> None:
    llm = DeepenLLM(ensemble=speaking(" So.", template=REFUSING), max_new_tokens=4)
    turns = [
        ChatMessage(f"Message {place} says this and that.", role=role)
        for place, role in enumerate([MessageRole.USER, MessageRole.ASSISTANT] * 4)
    ]
    for memory in (
        ChatMemoryBuffer.from_defaults(chat_history=list(turns), llm=llm, token_limit=30),
        ChatSummaryMemoryBuffer.from_defaults(chat_history=list(turns), llm=llm, token_limit=30),
    ):
        kept = memory.get()
        assert 0 < len(kept) < len(turns)
        assert llm.chat([*kept, ChatMessage("And?")]).message.content is not None
