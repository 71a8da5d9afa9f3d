"""One engine for all callers: nothing that one of them does is seen by another, but for the time it takes."""

import asyncio
import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from deepen_llm import EnsembleLLM, Output
from deepen_llm.errors import EngineError, LogitsError, PromptError
from deepen_llm.members.local.member import LocalMember
from tests.engine.test_engine import OPTIONS, Setting, samples
from tests.laws.test_batches import rows_read
from tests.laws.test_decoding import PROMPTS

STEPS = 8
GREEDY: dict[str, Any] = {"max_new_tokens": STEPS}
POISON = " zz"
THREADS = 6


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that begin at once, each in a thread; an error in the place of one that fails."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [running.result(120) for running in [pool.submit(run, call) for call in calls]]


@contextmanager
def at_forward(member: LocalMember, number: int, action: Callable[[Any], None]) -> Iterator[list[int]]:
    """Call an action with what the member's forward of this number gives; yields a list that counts forwards."""
    seen: list[int] = []

    def hook(_: object, __: object, out: Any) -> None:
        seen.append(1)
        if len(seen) == number:
            action(out)

    with member.model.register_forward_hook(hook):
        yield seen


@pytest.fixture(scope="module")
def wanted(members: list[LocalMember]) -> list[Output]:
    """What three callers get alone."""
    llm = EnsembleLLM(members)
    return [llm.generate(prompt, **GREEDY) for prompt in PROMPTS[:3]]


def test_callers_share_forwards_and_get_what_each_gets_alone(llm: EnsembleLLM, members: list[LocalMember]) -> None:
    prompts = [f"{PROMPTS[0]} {number}" for number in range(THREADS)]
    with rows_read(members[0].model) as rows:
        alone = [llm.generate(prompt, **GREEDY) for prompt in prompts]
    apart = len(rows)
    with rows_read(members[0].model) as rows:
        found = together(*(lambda prompt=prompt: llm.generate(prompt, **GREEDY) for prompt in prompts))
    assert found == alone
    assert max(rows) > 1
    assert len(rows) < apart


def test_forms_of_calls_share_an_engine(llm: EnsembleLLM) -> None:
    def streamed() -> str:
        return "".join(map(str, llm.stream(PROMPTS[1], **GREEDY)))

    async def streamed_asynchronously() -> str:
        return "".join([str(piece) async for piece in llm.astream(PROMPTS[1], **GREEDY)])

    calls: list[Callable[[], Any]] = [
        *(lambda given=given: llm.generate(PROMPTS[0], **given).samples for given in OPTIONS),
        lambda: [out.text for out in llm.generate(PROMPTS, **GREEDY)],
        streamed,
        lambda: asyncio.run(streamed_asynchronously()),
        lambda: asyncio.run(llm.agenerate(PROMPTS[0], **GREEDY)).text,
        lambda: round(llm.score(PROMPTS[0], " jumps over").total, 3),
        lambda: round(asyncio.run(llm.ascore(PROMPTS[0], " jumps")).total, 3),
    ]

    def comparable(result: Any) -> Any:
        is_samples = isinstance(result, tuple)
        return [(one.tokens, one.text, one.finish_reason) for one in result] if is_samples else result

    alone = [comparable(call()) for call in calls]
    assert [comparable(result) for result in together(*calls)] == alone


async def test_calls_of_one_event_loop_are_decoded_together(llm: EnsembleLLM, members: list[LocalMember]) -> None:
    wanted = llm.generate(PROMPTS, **GREEDY)
    with rows_read(members[0].model) as rows:
        found = await asyncio.gather(*(llm.agenerate(prompt, **GREEDY) for prompt in PROMPTS))
    assert found == wanted
    assert max(rows) > 1


def test_a_caller_with_many_requests_keeps_no_other_one_waiting(members: list[LocalMember]) -> None:
    llm = EnsembleLLM(members, batch_size=2)
    stream = llm.stream(PROMPTS[1], max_new_tokens=1)
    many = threading.Thread(target=llm.generate, args=([PROMPTS[0]] * 30,), kwargs=GREEDY)
    with rows_read(members[0].model) as rows:
        many.start()
        while len(rows) < 3:
            pass
        list(stream)
        after = len(rows)
        many.join()
    assert after < len(rows) / 2


@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_a_member_that_raises_fails_who_needs_it_and_nobody_hangs(
    number: int, llm: EnsembleLLM, members: list[LocalMember], wanted: list[Output]
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("the device fell off")

    with at_forward(members[1], number, fail) as seen:
        found = together(*(lambda prompt=prompt: llm.generate(prompt, **GREEDY) for prompt in PROMPTS[:3]))
    assert len(seen) >= number
    failed = [one for one in found if isinstance(one, BaseException)]  # none where prompts could be read one by one
    assert all(isinstance(one, RuntimeError) and "fell off" in str(one) for one in failed)
    assert all(one in (other, *failed) for one, other in zip(found, wanted, strict=True))
    assert llm.generate(PROMPTS[:3], **GREEDY) == wanted


@pytest.mark.parametrize("at", [0, 1, 4, STEPS - 1])
def test_logits_that_are_no_distribution_fail_their_own_request_only(at: int) -> None:
    setting = Setting()
    wanted = [setting.request(prompt, GREEDY) for prompt in PROMPTS[:3]]
    for request in wanted:
        setting.alone(request)
    engine, requests = setting.engine(), [setting.request(prompt, GREEDY) for prompt in PROMPTS[:3]]
    for request in requests:
        engine.add(request)
    for _ in range(at):
        engine.step()

    def spoil(out: Any) -> None:
        out.logits[1] = torch.nan

    with at_forward(setting.ensemble.members[0], 1 if at else 2, spoil):  # type: ignore[arg-type]
        while engine.has_unfinished:
            engine.step()
    assert isinstance(requests[1].failure, LogitsError)
    others = [0, 2]
    assert samples([requests[i] for i in others]) == samples([wanted[i] for i in others])
    assert all(requests[i].failure is None for i in others)


def test_a_prompt_that_cannot_be_read_fails_alone() -> None:
    setting = Setting()
    wanted = setting.request(PROMPTS[0], GREEDY)
    setting.alone(wanted)
    engine, requests = setting.engine(), [setting.request(prompt, GREEDY) for prompt in (PROMPTS[0], PROMPTS[1])]
    bad = set(requests[1].prompt[0].ids)

    def spoil(_: Any, given: Any, out: Any) -> Any:
        is_bad = [bad <= set(ids.tolist()) for ids in given[0]] if given else [False]
        out.logits[torch.tensor(is_bad)] = torch.nan
        return out

    def hook(_: Any, __: Any, given: dict[str, Any], out: Any) -> Any:
        return spoil(None, (given["input_ids"],), out)

    for request in requests:
        engine.add(request)
    with setting.ensemble.members[0].model.register_forward_hook(hook, with_kwargs=True):  # type: ignore[attr-defined]
        while engine.has_unfinished:
            engine.step()
    assert isinstance(requests[1].failure, LogitsError)
    assert samples(requests[:1]) == samples([wanted])


@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_an_interrupted_caller_leaves_nobody_hanging(
    number: int, llm: EnsembleLLM, members: list[LocalMember], wanted: list[Output]
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with at_forward(members[0], number, interrupt):
        found = together(*(lambda prompt=prompt: llm.generate(prompt, **GREEDY) for prompt in PROMPTS[:3]))
    kinds = [type(one) for one in found]
    assert kinds.count(KeyboardInterrupt) == 1
    assert {*kinds} <= {KeyboardInterrupt, EngineError, Output}
    assert all(one == other for one, other in zip(found, wanted, strict=True) if isinstance(one, Output))
    assert llm.generate(PROMPTS[:3], **GREEDY) == wanted


@pytest.mark.parametrize("taken", range(4))
def test_a_stream_that_is_left_frees_its_sequence_within_a_step(
    taken: int, llm: EnsembleLLM, members: list[LocalMember]
) -> None:
    wanted = llm.generate(PROMPTS[0], **GREEDY)
    stream, other = llm.stream(PROMPTS[1], max_new_tokens=40), llm.stream(PROMPTS[0], **GREEDY)
    text = str(next(other))
    for _ in range(taken):
        next(stream)
    with rows_read(members[0].model) as rows:
        del stream
        gc.collect()
        text += "".join(map(str, other))
    assert text == wanted.text
    assert max(rows, default=1) == 1


async def test_a_cancelled_call_stops_and_the_others_go_on(llm: EnsembleLLM, members: list[LocalMember]) -> None:
    wanted = llm.generate(PROMPTS[0], max_new_tokens=30)
    left = asyncio.ensure_future(llm.agenerate(PROMPTS[1], max_new_tokens=500))
    going_on = asyncio.ensure_future(llm.agenerate(PROMPTS[0], max_new_tokens=30))
    with rows_read(members[0].model) as rows:
        while max(rows, default=0) < 2:
            await asyncio.sleep(0.001)
        left.cancel()
        assert await going_on == wanted
    assert rows[-1] == 1
    with pytest.raises(asyncio.CancelledError):
        await left


def test_a_bad_prompt_reaches_no_engine(llm: EnsembleLLM) -> None:
    found = together(lambda: llm.generate(""), lambda: llm.generate(PROMPTS[0], **GREEDY))
    assert isinstance(found[0], PromptError)
    assert isinstance(found[1], Output)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_an_engine_of_its_own(llm: EnsembleLLM) -> None:
    wanted = llm.generate(PROMPTS[0], **GREEDY).text
    stream = llm.stream(PROMPTS[1], max_new_tokens=20)
    next(stream)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "wb") as out:
            try:
                list(stream)
                left = "went on"
            except EngineError:
                left = "ended"
            pickle.dump((left, llm.generate(PROMPTS[0], **GREEDY).text), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as result:
        assert pickle.load(result) == ("ended", wanted)  # noqa: S301 - of this test's own child
    os.waitpid(child, 0)
    assert "".join(map(str, stream))


def test_no_thread_is_left(llm: EnsembleLLM) -> None:
    before = threading.active_count()
    together(*(lambda: llm.generate(PROMPTS[0], **GREEDY) for _ in range(4)))
    assert threading.active_count() == before
