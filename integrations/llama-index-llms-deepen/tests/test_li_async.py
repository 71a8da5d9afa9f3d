"""Event loops that go on, streams that are left, members that fail, threads that load."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from deepen_li_members import fresh, rested, speakers
from llama_index.core.llms import ChatMessage
from llama_index.llms.deepen import DeepenLLM
from test_li_endpoints import ANSWER, FORMS, PROMPT, Say, every_form, form

from deepen_llm import EnsembleLLM, specialists


@cache
def slow_or_failing() -> EnsembleLLM:
    return fresh(ANSWER, marks=("=>",))


def speaker() -> DeepenLLM:
    """A model whose members may be slowed down, or made to fail; no two tests use it at once."""
    return DeepenLLM(ensemble=rested(slow_or_failing()))


def unloaded() -> DeepenLLM:
    """A model whose weights no other test has loaded: equal members share them, as long as anything refers to them."""
    names = [f"{path.name}-{uuid4()}" for path in specialists.paths()[:2]]
    members = [{"path": str(path), "name": name} for path, name in zip(specialists.paths(), names, strict=False)]
    return DeepenLLM(members=members, max_new_tokens=3)


async def ticks_during(work: Any) -> tuple[int, float, Any]:
    """How often a ticker of 2 ms ticked while something was awaited, and how long that took."""
    ticks, began, task = 0, time.perf_counter(), asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.002)
        ticks += 1
    return ticks, time.perf_counter() - began, await task


ASYNCHRONOUS = [name for name in FORMS if name.startswith("a")]
asynchronous = pytest.mark.parametrize("say", [form(name) for name in ASYNCHRONOUS], ids=ASYNCHRONOUS)


@asynchronous
async def test_the_event_loop_goes_on(say: Say) -> None:
    llm = speaker()
    for model in speakers(llm.load()):
        model.delay = 0.005
    ticks, took, (text, _) = await ticks_during(say(llm))
    assert text == ANSWER
    assert ticks > took / 0.02


@pytest.mark.parametrize("say", [form("acomplete"), form("astream_chat")], ids=["acomplete", "astream_chat"])
async def test_the_event_loop_goes_on_while_weights_load(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    load = EnsembleLLM.from_config

    def slowly(config: Any) -> EnsembleLLM:
        time.sleep(0.3)
        return load(config)

    monkeypatch.setattr(EnsembleLLM, "from_config", slowly)
    llm = unloaded()
    ticks, took, (text, _) = await ticks_during(say(llm))
    assert text
    assert took > 0.3
    assert ticks > 50


def test_threads_load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = EnsembleLLM.from_config, []

    def counting(config: Any) -> EnsembleLLM:
        loaded.append(1)
        time.sleep(0.05)
        return load(config)

    monkeypatch.setattr(EnsembleLLM, "from_config", counting)
    llm, barrier = unloaded(), threading.Barrier(4)

    def call(_: int) -> str:
        barrier.wait()
        return llm.complete("The capital of France is").text

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(call, range(4)))) == 1
    assert len(loaded) == 1


def test_a_failed_load_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    load, tried = EnsembleLLM.from_config, []

    def failing_first(config: Any) -> EnsembleLLM:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("no memory")
        return load(config)

    monkeypatch.setattr(EnsembleLLM, "from_config", failing_first)
    llm = unloaded()
    with pytest.raises(OSError, match="no memory"):
        llm.complete("The capital of France is")
    assert llm.complete("The capital of France is").text


@pytest.mark.parametrize(("name", "leave"), [("stream_complete", "close"), ("stream_chat", "drop")])
def test_an_abandoned_stream_stops_the_models(name: str, leave: str) -> None:
    llm = speaker()
    models = speakers(llm.load())
    stream = getattr(llm, name)([ChatMessage(PROMPT)] if "chat" in name else PROMPT)
    next(stream), next(stream)
    seen = [model.steps for model in models]
    if leave == "close":
        stream.close()
    del stream
    assert [model.steps for model in models] == seen
    assert llm.complete(PROMPT).text == ANSWER


@pytest.mark.parametrize(("name", "leave"), [("astream_complete", "drop"), ("astream_chat", "close")])
async def test_an_abandoned_asynchronous_stream_stops_the_models_within_a_step(name: str, leave: str) -> None:
    llm = speaker()
    models = speakers(llm.load())
    stream = await getattr(llm, name)([ChatMessage(PROMPT)] if "chat" in name else PROMPT)
    await anext(stream), await anext(stream)
    seen = [model.steps for model in models]
    if leave == "close":
        await stream.aclose()
    del stream
    await asyncio.sleep(0.1)
    assert all(model.steps <= before + 1 for model, before in zip(models, seen, strict=True))
    assert (await llm.acomplete(PROMPT)).text == ANSWER


@pytest.mark.parametrize("name", ["acomplete", "achat"])
async def test_a_cancelled_call_stops_the_models_within_a_step(name: str) -> None:
    llm = speaker()
    models = speakers(llm.load())
    for model in models:
        model.delay = 0.01
    task = asyncio.ensure_future(form(name)(llm))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = [model.steps for model in models]
    await asyncio.sleep(0.1)
    assert [model.steps for model in models] == seen


@every_form
async def test_a_member_that_fails_surfaces_at_once_and_the_next_call_works(say: Say) -> None:
    llm = speaker()
    failing = speakers(llm.load())[1]
    failing.fail_at = 5
    with pytest.raises(RuntimeError, match="fell off"):
        await say(llm)
    assert failing.steps == 5
    assert (await say(llm))[0] == ANSWER


def test_many_threads_get_what_one_gets() -> None:
    llm = speaker()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: llm.chat([ChatMessage(PROMPT)]).message.content, range(4))) == {ANSWER}
