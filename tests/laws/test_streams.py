"""Streams, threads and interruptions: the models stop where they are left, and nothing is shared between calls."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deepen_llm import EnsembleLLM
from deepen_llm.engine.text import TextAssembler
from deepen_llm.errors import ConfigError
from deepen_llm.testing import scripted
from tests.models import small
from tests.tokenizers import byte_level_bpe, sentencepiece_bpe

PROMPT = "The quick brown fox"
ANSWER = " jumps över the 🚀 lazy 狗, and it was right! The end."


def speaker(answer: str = ANSWER) -> EnsembleLLM:
    """An ensemble that says the answer to the prompt."""
    return EnsembleLLM(
        [scripted(byte_level_bpe(), PROMPT, answer), small("gpt_neox", "sentencepiece_bpe")], fusion="bayes"
    )


@pytest.fixture
def counted() -> Iterator[tuple[EnsembleLLM, list[int]]]:
    """The speaker, and one entry for each forward of its main model."""
    llm, forwards = speaker(), []
    hook = llm.members[0].model.register_forward_hook(lambda *_: forwards.append(1))  # type: ignore[attr-defined]
    yield llm, forwards
    hook.remove()


def test_the_whole_answer_is_said_and_ends_at_the_end_of_text() -> None:
    out = speaker().generate(PROMPT)
    assert (out.text, out.finish_reason) == (ANSWER, "eos")
    assert out.usage.completion_tokens == len(out.tokens)
    assert out.usage.total_tokens == out.usage.prompt_tokens + len(out.tokens)


def test_pieces_are_whole_characters() -> None:
    pieces = list(speaker().stream(PROMPT))
    assert "".join(pieces) == ANSWER
    assert any("🚀" in piece for piece in pieces)
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stop", ["was right!", " lazy 狗", "🚀 l", "e", " jumps"])
def test_a_stop_string_of_several_tokens_is_never_shown_in_part(stop: str) -> None:
    llm = speaker()
    stream = llm.stream(PROMPT, stop=stop)
    pieces = list(stream)
    assert "".join(pieces) == ANSWER[: ANSWER.index(stop)]
    assert stream.output is not None
    assert stream.output.finish_reason == "stop"
    assert llm.generate(PROMPT, stop=[stop, "nowhere"]).text == ANSWER[: ANSWER.index(stop)]


@pytest.mark.parametrize("surfaces", [[b"the lazy dog"], [b"the ", b"la", b"z", b"y dog"]])
def test_the_stop_string_that_is_complete_first_ends_the_text_whatever_the_tokens(surfaces: list[bytes]) -> None:
    assembler = TextAssembler(["lazy", "y d", "az"])
    for surface in surfaces:
        if not assembler.stopped:
            assembler.feed(surface)
    assert assembler.text == "the l"


def test_text_that_only_begins_like_a_stop_string_is_shown_in_the_end() -> None:
    assembler = TextAssembler(["end of all", "\n\n"])
    shown = []
    for surface in [b"the ", b"end of", b" al", b"pha", b"\n", b"x\n"]:
        assembler.feed(surface)
        shown.append(assembler.release())
    assert shown == ["the ", "", "", "end of alpha", "", "\nx"]
    assert assembler.release(final=True) == "\n"


@pytest.mark.parametrize(("bound", "reason"), [(3, "length"), (200, "eos")])
def test_the_finish_reason_of_a_bound(bound: int, reason: str) -> None:
    assert speaker().generate(PROMPT, max_new_tokens=bound).finish_reason == reason


def test_an_abandoned_stream_stops_the_models(counted: tuple[EnsembleLLM, list[int]]) -> None:
    llm, forwards = counted
    stream = llm.stream(PROMPT)
    next(stream), next(stream)
    seen = len(forwards)
    stream.close()
    assert list(stream) == []
    stream = llm.stream(PROMPT)
    next(stream)
    del stream
    gc.collect()
    assert len(forwards) <= seen + 1 + seen
    assert llm.generate(PROMPT).text == ANSWER


def test_a_cancelled_call_stops_the_models_within_one_step(counted: tuple[EnsembleLLM, list[int]]) -> None:
    llm, forwards = counted
    slow = llm.members[0].model.register_forward_hook(lambda *_: time.sleep(0.02))  # type: ignore[attr-defined]

    async def run() -> None:
        for call in (llm.agenerate(PROMPT), _consume(llm)):
            task = asyncio.ensure_future(call)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            seen = len(forwards)
            await asyncio.sleep(0.2)
            assert len(forwards) == seen

    asyncio.run(run())
    slow.remove()


def test_cancelling_twice_is_cancelling() -> None:
    llm = speaker()
    slow = llm.members[0].model.register_forward_hook(lambda *_: time.sleep(0.1))  # type: ignore[attr-defined]

    async def run() -> None:
        task = asyncio.ensure_future(llm.agenerate(PROMPT))
        await asyncio.sleep(0.15)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    slow.remove()


def test_an_event_loop_may_end_while_models_work() -> None:
    llm = speaker()
    slow = llm.members[0].model.register_forward_hook(lambda *_: time.sleep(0.05))  # type: ignore[attr-defined]
    complaints: list[Any] = []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        task = asyncio.ensure_future(llm.agenerate(PROMPT))
        await asyncio.sleep(0.12)
        assert not task.done()

    asyncio.run(leave())
    slow.remove()
    assert complaints == []
    assert llm.generate(PROMPT).text == ANSWER


async def _consume(llm: EnsembleLLM) -> None:
    async for _ in llm.astream(PROMPT):
        pass


def test_the_event_loop_goes_on_while_models_work() -> None:
    llm = speaker()

    async def run() -> int:
        ticks, task = 0, asyncio.ensure_future(llm.agenerate([PROMPT] * 4))
        while not task.done():
            await asyncio.sleep(0.002)
            ticks += 1
        assert (await task)[0].text == ANSWER
        return ticks

    assert asyncio.run(run()) > 10


def test_a_member_that_fails_midway_surfaces_and_the_next_call_works() -> None:
    llm = speaker()
    calls = []

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("the device fell off")

    hook = llm.members[1].model.register_forward_hook(fail)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="fell off"):
        list(llm.stream(PROMPT))
    hook.remove()
    assert llm.generate(PROMPT).text == ANSWER


def test_many_threads_get_what_one_gets() -> None:
    llm = EnsembleLLM([small("llama", "byte_level_bpe"), small("gpt_neox", "sentencepiece_bpe")])
    prompts = [f"The {word} fox and the dog" for word in ("quick", "brown", "lazy", "grey")] * 2
    alone = [llm.generate(prompt, max_new_tokens=12, temperature=1, seed=4) for prompt in prompts]
    barrier = threading.Barrier(len(prompts))

    def call(prompt: str) -> Any:
        barrier.wait()
        return llm.generate(prompt, max_new_tokens=12, temperature=1, seed=4)

    with ThreadPoolExecutor(len(prompts)) as pool:
        assert list(pool.map(call, prompts)) == alone


def test_two_ensembles_may_share_their_members() -> None:
    members = [small("llama", "byte_level_bpe"), small("gpt_neox", "sentencepiece_bpe")]
    one, other = EnsembleLLM(members), EnsembleLLM(members[::-1], fusion="bayes")
    streams = [one.stream(PROMPT, max_new_tokens=8), other.stream(PROMPT, max_new_tokens=8)]
    pieces = [[next(stream, "") for stream in streams] for _ in range(9)]
    together = ["".join(column) for column in zip(*pieces, strict=True)]
    assert together == [llm.generate(PROMPT, max_new_tokens=8).text for llm in (one, other)]


def test_several_samples_have_no_single_stream() -> None:
    with pytest.raises(ConfigError, match="a stream of n=2"):
        speaker().stream(PROMPT, n=2)


def test_the_end_of_text_is_the_main_models_alone_under_that_policy() -> None:
    members = [
        scripted(byte_level_bpe(), PROMPT, ANSWER, strength=3),
        scripted(sentencepiece_bpe(), PROMPT, "", strength=30),
    ]
    weights = [0.3, 0.7]
    fused = EnsembleLLM(members, weights=weights, fusion="bayes")
    assert fused.generate(PROMPT).finish_reason == "eos"
    assert fused.generate(PROMPT).text == ""
    main = EnsembleLLM(members, weights=weights, fusion="bayes", eos_policy="main")
    assert len(main.generate(PROMPT, max_new_tokens=10).tokens) == 10
