"""The calls of a batch are decoded together, and each is still a call of its own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.prompts import ChatPromptTemplate
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import LONG, answers
from langchain_scripted import cancel, ensemble
from test_lc_llm import Heard

from deepen_llm.errors import ConfigError, ContextLengthError, PromptError

NAMES = ["Ada", "Bo", "Cy", "Di"]
ASKED = [f"How are you, {name}?" for name in NAMES]
WANTED = [f"I am fine, {name}. What can I do?" for name in NAMES]
PROMPTS, CONTINUED = ["The quick brown|", "A list|"] * 2, [LONG, "one, two, three"] * 2
Model = ChatDeepen | DeepenLLM


def text(answer: Any) -> Any:
    return answer if isinstance(answer, str | Exception) else answer.text


@pytest.fixture(params=["chat", "llm"])
def case(request: pytest.FixtureRequest) -> tuple[Model, list[Any], list[str]]:
    model = request.getfixturevalue(request.param)
    inputs = ASKED if request.param == "chat" else PROMPTS
    return model, inputs, WANTED if request.param == "chat" else CONTINUED


async def test_a_batch_is_its_single_calls_and_shares_their_forwards(case: Any, forwards: list[int]) -> None:
    model, inputs, wanted = case
    forwards.clear()
    assert [text(model.invoke(one)) for one in inputs] == wanted
    alone = len(forwards)
    assert max(forwards) == 1
    forwards.clear()
    assert [text(one) for one in model.batch(inputs)] == wanted
    assert [text(one) for one in await model.abatch(inputs)] == wanted
    assert len(forwards) < alone  # of two batches of four
    assert max(forwards) == len(inputs)
    assert model.batch([]) == []
    assert await model.abatch([]) == []


async def test_max_concurrency_bounds_the_calls_that_are_decoded_together(case: Any, forwards: list[int]) -> None:
    model, inputs, wanted = case
    for most in (1, 2):
        forwards.clear()
        assert [text(one) for one in model.batch(inputs, {"max_concurrency": most})] == wanted
        assert [text(one) for one in await model.abatch(inputs, {"max_concurrency": most})] == wanted
        found = sorted(model.batch_as_completed(inputs, {"max_concurrency": most}), key=lambda one: one[0])
        assert [text(one) for _, one in found] == wanted
        assert max(forwards) <= most


async def test_a_chain_passes_its_batch_on(chat: ChatDeepen, forwards: list[int]) -> None:
    chain = ChatPromptTemplate.from_template("How are you, {name}?") | chat.bind(stop=["can I"]) | (lambda m: m.text)
    wanted = [one[: one.index("can I")] for one in WANTED]
    assert chain.batch([{"name": name} for name in NAMES]) == wanted
    assert max(forwards) > 1
    forwards.clear()
    assert await chain.abatch([{"name": name} for name in NAMES]) == wanted
    assert max(forwards) > 1
    tool = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
    assert [one.text for one in chat.bind_tools([tool]).batch(ASKED)] == WANTED
    forwards.clear()
    chat.with_structured_output({"title": "A", "type": "object", "properties": {}}).batch(ASKED)
    assert max(forwards) > 1


async def test_one_bad_prompt_fails_alone(case: Any) -> None:
    model, inputs, wanted = case
    bad: Any = "" if isinstance(model, DeepenLLM) else []
    given = [*inputs[:3], bad, *inputs[3:]]
    for said in (model.batch(given, return_exceptions=True), await model.abatch(given, return_exceptions=True)):
        assert isinstance(said[3], PromptError)
        assert [text(one) for place, one in enumerate(said) if place != 3] == wanted
    for form in (lambda: model.batch(given), lambda: asyncio.run(model.abatch(given))):
        with pytest.raises(PromptError), ThreadPoolExecutor(1) as pool:
            pool.submit(form).result()
    assert [text(one) for one in model.batch(inputs)] == wanted


def test_a_prompt_that_is_too_long_fails_alone_and_as_langchain_knows_it() -> None:
    small = ensemble(answers, limit=100)
    for model, inputs in (
        (ChatDeepen(ensemble=small), ["Hello", "x" * 500]),
        (DeepenLLM(ensemble=small), ["A|", "x" * 500]),
    ):
        good, bad = model.batch(inputs, return_exceptions=True)  # type: ignore[attr-defined]
        assert text(good)
        assert isinstance(bad, ContextOverflowError)
        assert isinstance(bad, ContextLengthError)
        for form in (model.invoke, model.stream):
            with pytest.raises(ContextOverflowError, match="context window"):
                list(form(inputs[1]))


def test_an_image_in_one_conversation_fails_alone(chat: ChatDeepen) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    answers = chat.batch([ASKED[0], [("human", [image])], ASKED[1]], return_exceptions=True)
    assert isinstance(answers[1], PromptError)
    assert [answers[0].text, answers[2].text] == WANTED[:2]


def test_an_option_nobody_knows_fails_all_of_them(case: Any) -> None:
    model, inputs, _ = case
    answers = model.batch(inputs, return_exceptions=True, temprature=1)
    assert all(isinstance(one, ConfigError) for one in answers)
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        model.batch(inputs, temprature=1)
    stopping = type(model)(ensemble=model.ensemble, stop=["x"])
    assert all(isinstance(one, ConfigError) for one in stopping.batch(inputs, return_exceptions=True, temprature=1))
    if isinstance(model, DeepenLLM):
        with pytest.raises(ConfigError, match="unknown option 'tools'"):
            model.invoke("x|", tools=[])


def test_a_member_that_fails_fails_all_of_them_and_the_next_batch_works(case: Any, live: Any) -> None:
    model, inputs, wanted = case

    def fail(*_: Any) -> None:
        raise RuntimeError("the device fell off")

    hook = live.members[1].model.register_forward_hook(fail)
    answers = model.batch(inputs, return_exceptions=True)
    hook.remove()
    assert all(isinstance(one, RuntimeError) for one in answers)
    assert [text(one) for one in model.batch(inputs)] == wanted


async def test_every_call_of_a_batch_has_its_own_run(case: Any) -> None:
    model, inputs, wanted = case
    heard = [Heard() for _ in inputs]
    configs: Any = [
        {"callbacks": [one], "tags": [f"tag {place}"], "metadata": {"place": place}, "run_name": f"run {place}"}
        for place, one in enumerate(heard)
    ]
    model.batch(inputs, configs)
    await model.abatch(inputs, configs)
    for place, one in enumerate(heard):
        assert one.events == ["start", "end"] * 2
        assert len({start["run_id"] for start in one.starts}) == 2
        for start in one.starts:
            assert start["tags"] == [f"tag {place}"]
            assert start["metadata"]["place"] == place
            assert start["name"] == f"run {place}"
        assert [end.generations[0][0].text for end in one.ends] == [wanted[place]] * 2


def test_a_callback_may_call_the_model_itself(chat: ChatDeepen) -> None:
    said: list[str] = []

    class Nested(Heard):
        def on_chat_model_start(self, serialized: Any, messages: Any, **given: Any) -> None:
            if messages[0][0].text in ASKED[:2]:
                said.append(chat.invoke(ASKED[3]).text)

    answers = chat.batch(ASKED[:3], {"callbacks": [Nested()]})
    assert [one.text for one in answers] == WANTED[:3]
    assert said == [WANTED[3]] * 2


def test_threads_of_batches_equal_serial_calls(case: Any) -> None:
    model, inputs, wanted = case
    barrier = threading.Barrier(4)

    def call(shift: int) -> list[Any]:
        barrier.wait()
        return [text(one) for one in model.batch(inputs[shift:] + inputs[:shift])]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(4))) == [wanted[shift:] + wanted[:shift] for shift in range(4)]


async def test_many_batches_on_one_loop(case: Any) -> None:
    model, inputs, wanted = case
    answers = await asyncio.gather(*(model.abatch(inputs) for _ in range(3)))
    assert [[text(one) for one in batch] for batch in answers] == [wanted] * 3


async def test_a_cancelled_batch_stops_the_models(chat: ChatDeepen, forwards: list[int]) -> None:
    await cancel(chat.abatch(ASKED), forwards)
    assert (await chat.ainvoke(ASKED[0])).text == WANTED[0]


def test_a_streaming_instance_may_be_batched(live: Any) -> None:
    chat = ChatDeepen(ensemble=live, streaming=True)
    assert [one.text for one in chat.batch(ASKED)] == WANTED
