"""Streams, stop strings, interruptions, and the event loop that goes on."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import LONG
from langchain_scripted import cancel

from deepen_llm import EnsembleLLM, specialists

PROMPT = "The quick brown|"
STOPS = ["was right!", " lazy 狗", "🚀 lazy"]
Model = ChatDeepen | DeepenLLM


@pytest.fixture(params=["chat", "llm"])
def case(request: pytest.FixtureRequest) -> tuple[Model, str]:
    return request.getfixturevalue(request.param), "Hello" if request.param == "chat" else PROMPT


def text(answer: Any) -> str:
    return answer if isinstance(answer, str) else str(answer.text)


@pytest.mark.parametrize("place", range(len(STOPS)))
async def test_the_text_ends_before_a_stop_string_of_several_tokens(case: Any, place: int, live: EnsembleLLM) -> None:
    stop = STOPS[place]
    assert len(live.members[0].tokenizer.encode(stop)) >= 3  # type: ignore[attr-defined]
    model, given = case
    wanted = LONG[: LONG.index(stop)]
    again = type(model)(ensemble=live, stop=stop)
    pieces = [text(piece) for piece in model.stream(given, stop=[stop, "nowhere"])]
    assert "".join(pieces) == wanted
    if place == 0:  # the other forms of a call are shared out among the stop strings
        assert text(model.invoke(given, stop=[stop])) == wanted
        assert "".join([text(one) async for one in model.astream(given, stop=[stop])]) == wanted
        assert text(again.invoke(given, stop=[])) == LONG
    elif place == 1:
        assert text(again.invoke(given)) == wanted
        assert [text(one) for one in model.batch([given] * 2, stop=[stop])] == [wanted] * 2
        assert text(await model.ainvoke(given, stop=[stop])) == wanted
    else:
        assert text(model.bind(stop=[stop]).invoke(given)) == wanted
        assert [text(one) for one in await again.abatch([given] * 2)] == [wanted] * 2


def test_the_finish_reason_tells_of_the_stop_string(chat: ChatDeepen) -> None:
    assert chat.invoke("Hello", stop=["lazy"]).response_metadata["finish_reason"] == "stop"
    assert chat.invoke("Hello", max_tokens=3).response_metadata["finish_reason"] == "length"


def test_pieces_come_one_by_one(case: Any, forwards: list[int]) -> None:
    model, given = case
    seen = [len(forwards) for _ in model.stream(given)]
    assert len(seen) > 10
    assert seen[0] <= 2
    assert seen == sorted(seen)
    assert seen[5] < seen[-1]


def test_an_abandoned_stream_stops_the_models(case: Any, forwards: list[int]) -> None:
    model, given = case
    stream = model.stream(given)
    next(stream), next(stream)
    seen = len(forwards)
    stream.close()
    del stream
    gc.collect()
    assert len(forwards) == seen <= 3
    assert text(model.invoke(given)) == LONG


async def test_an_abandoned_asynchronous_stream_stops_the_models(case: Any, forwards: list[int]) -> None:
    model, given = case
    stream = model.astream(given)
    await anext(stream), await anext(stream)
    seen = len(forwards)
    await stream.aclose()
    await asyncio.sleep(0.05)
    assert len(forwards) <= seen + 1 <= 4
    assert text(await model.ainvoke(given)) == LONG


async def test_a_cancelled_call_stops_the_models(case: Any, forwards: list[int]) -> None:
    model, given = case
    await cancel(model.ainvoke(given), forwards)


async def test_a_member_that_fails_midway_surfaces_at_once(case: Any, live: EnsembleLLM) -> None:
    model, given = case
    steps: list[int] = []

    def fail(*_: Any) -> None:
        steps.append(1)
        if len(steps) % 4 == 0:
            raise RuntimeError("the device fell off")

    async def later() -> None:
        async for _ in model.astream(given):
            pass

    hook = live.members[1].model.register_forward_hook(fail)  # type: ignore[attr-defined]
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="fell off"):
        list(model.stream(given))
    with pytest.raises(RuntimeError, match="fell off"):
        await later()
    with pytest.raises(RuntimeError, match="fell off"):
        await model.ainvoke(given)
    assert time.monotonic() - begun < 1
    hook.remove()
    assert text(model.invoke(given)) == LONG


async def ticking(work: Awaitable[Any]) -> tuple[int, float]:
    """How often a 2 ms ticker on the same loop ticks while the work is done, and its longest pause in seconds."""
    task, ticks, longest, last = asyncio.ensure_future(work), 0, 0.0, time.monotonic()
    while not task.done():
        await asyncio.sleep(0.002)
        now = time.monotonic()
        ticks, longest, last = ticks + 1, max(longest, now - last), now
    await task
    return ticks, longest


async def _drained(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("form", ["ainvoke", "astream", "abatch"])
async def test_the_event_loop_goes_on(case: Any, live: EnsembleLLM, form: str) -> None:
    model, given = case
    slow = live.members[0].model.register_forward_hook(lambda *_: time.sleep(0.01))  # type: ignore[attr-defined]
    work = {
        "ainvoke": lambda: model.ainvoke(given),
        "astream": lambda: _drained(model.astream(given)),
        "abatch": lambda: model.abatch([given] * 3),
    }[form]()
    ticks, longest = await ticking(work)
    slow.remove()
    assert ticks > 40
    assert longest < 0.2


@pytest.mark.parametrize(("kind", "form"), [(ChatDeepen, "ainvoke"), (DeepenLLM, "astream")])
async def test_the_event_loop_goes_on_while_weights_are_loaded(kind: Any, form: str, monkeypatch: Any) -> None:
    own = EnsembleLLM.from_config.__func__  # type: ignore[attr-defined]

    def slowly(cls: Any, config: Any) -> Any:
        time.sleep(0.2)
        return own(cls, config)

    monkeypatch.setattr(EnsembleLLM, "from_config", classmethod(slowly))
    weights = [0.51, 0.49] if form == "ainvoke" else [0.52, 0.48]  # nobody else's, so that they are loaded
    model = kind(members=specialists.paths()[:2], weights=weights, fusion="bayes", max_new_tokens=4)
    work = model.ainvoke("Hello") if form == "ainvoke" else _drained(model.astream("Hello"))
    ticks, _ = await ticking(work)
    assert ticks > 50


@pytest.mark.parametrize(("version", "query"), [(None, "both"), ("v1", "both"), (None, "What is the weather in Rome?")])
async def test_tool_calls_are_streamed_as_chunks(live: EnsembleLLM, version: str | None, query: str) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    @tool
    def add(a: int, b: int) -> int:
        """The sum."""
        return a + b

    chat = ChatDeepen(ensemble=live, output_version=version).bind_tools([weather, add])
    whole = chat.invoke(query)
    full: Any = None
    for chunk in chat.stream(query):
        full = chunk if full is None else full + chunk
    later: Any = None
    async for chunk in chat.astream(query):
        later = chunk if later is None else later + chunk
    for message in (full, later):
        assert [(one["name"], one["args"]) for one in message.tool_calls] == [
            (one["name"], one["args"]) for one in whole.tool_calls
        ]
        assert message.text == whole.text
        assert message.invalid_tool_calls == []
        kinds = [block["type"] for block in message.content_blocks]
        assert kinds == [block["type"] for block in whole.content_blocks]
    assert len(whole.tool_calls) == (2 if query == "both" else 1)
    assert all(one["id"] for one in full.tool_calls)
