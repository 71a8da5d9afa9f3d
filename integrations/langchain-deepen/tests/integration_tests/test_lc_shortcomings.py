"""What users of other local wrappers run into, each by its name."""

import asyncio
import time
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import LONG

from deepen_llm import EnsembleLLM, specialists

PROMPT = "The quick brown|"


def test_the_prompt_is_not_echoed(llm: DeepenLLM, chat: ChatDeepen) -> None:
    assert llm.invoke(PROMPT) == LONG
    assert PROMPT not in "".join(llm.stream(PROMPT))
    assert "Hello" not in chat.invoke("Hello").text


def test_stop_strings_of_any_length_are_heeded(llm: DeepenLLM, chat: ChatDeepen) -> None:
    assert llm.invoke(PROMPT, stop=["it was right"]) == LONG[: LONG.index("it")]
    assert "lazy" not in "".join(llm.stream(PROMPT, stop=["lazy"]))
    assert chat.invoke("Hello", stop=["it was right"]).text == LONG[: LONG.index("it")]


def test_options_of_a_call_are_heeded(llm: DeepenLLM, chat: ChatDeepen) -> None:
    result = llm.generate([PROMPT], max_tokens=3)
    assert result.llm_output is not None
    used = [result.llm_output["token_usage"]["completion_tokens"]]
    for said in (chat.invoke("Hello", max_tokens=3), chat.bind(max_tokens=3).invoke("Hello")):
        assert said.usage_metadata is not None
        used.append(said.usage_metadata["output_tokens"])
    assert used == [3, 3, 3]


def test_n_answers_are_n_answers(llm: DeepenLLM, chat: ChatDeepen, live: EnsembleLLM) -> None:
    hello = [[HumanMessage("Hello")]]
    assert len(llm.generate([PROMPT], n=3).generations[0]) == 3
    assert len(chat.generate(hello, n=3).generations[0]) == 3
    assert len(ChatDeepen(ensemble=live, n=2).generate(hello).generations[0]) == 2


def test_tools_reach_the_prompt_of_every_member(chat: ChatDeepen, live: EnsembleLLM, monkeypatch: Any) -> None:
    @tool
    def wind(city: str) -> str:
        """Tells how the wind blows."""
        return city

    seen: list[str] = []
    for member in live.members:
        own = member.encode_chat

        def encode(messages: Any, tools: Any = (), own: Any = own, member: Any = member) -> Any:
            prompt = own(messages, tools)
            seen.append(member.tokenizer.decode(prompt.ids))
            return prompt

        monkeypatch.setattr(member, "encode_chat", encode)
    chat.bind_tools([wind]).invoke("How are you, Ada?")
    assert len(seen) == 2
    assert all("wind" in prompt and "Tells how the wind blows." in prompt for prompt in seen)


async def test_asynchronous_calls_neither_block_nor_raise(chat: ChatDeepen, llm: DeepenLLM) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    assert (await chat.ainvoke("Hello")).text == await llm.ainvoke(PROMPT) == LONG
    assert "".join([chunk.text async for chunk in chat.astream("Hello")]) == LONG
    ticker.cancel()
    assert ticks > 10


def test_there_is_one_beginning_of_text() -> None:
    members = EnsembleLLM.from_pretrained(specialists.paths()[:2], fusion="bayes").members
    for member in members:
        tokenizer = member.tokenizer  # type: ignore[attr-defined]
        ids = member.encode_chat([{"role": "user", "content": "Hello"}]).ids
        assert sum(id_ == tokenizer.bos_token_id for id_ in ids) == (tokenizer.bos_token_id is not None)


@pytest.mark.parametrize("model", ["chat", "llm"])
def test_an_error_while_streaming_surfaces_within_a_second(
    model: str, live: EnsembleLLM, request: pytest.FixtureRequest
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the device fell off")

    stream = request.getfixturevalue(model).stream("Hello|")
    next(stream)
    hook = live.members[0].model.register_forward_hook(fail)  # type: ignore[attr-defined]
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="fell off"):
        list(stream)
    hook.remove()
    assert time.monotonic() - begun < 1
