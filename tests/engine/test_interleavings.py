"""One engine for all callers, attacked: interrupts at any line, calls in unlucky order, threads that are not free."""

# ruff: noqa: SLF001 - interleavings are of what is private

import asyncio
import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from linecache import getline
from types import CodeType, FrameType
from typing import Any

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.engine import call as call_module
from deepen_llm.engine import engine as engine_module
from deepen_llm.engine import shared
from deepen_llm.engine.answer import Answer
from deepen_llm.engine.answer_text import AnswerInProgress
from deepen_llm.engine.call import Call
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import EngineError
from deepen_llm.members.local.member import LocalMember
from tests.engine.test_engine import Setting
from tests.engine.test_shared import GREEDY, at_forward
from tests.laws.test_decoding import PROMPTS

SOON = 30  # seconds, within which nobody may hang


def engine_of(llm: EnsembleLLM) -> SharedEngine:
    return llm._engine


def in_background(call: Callable[[], Any]) -> Future[Any]:
    """What a call in a thread gives; a thread that hangs does not keep the tests from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Interrupt:
    """Raises KeyboardInterrupt in its thread before a line of the engine's files runs, the first or second time.

    Attributes:
        lines: The lines that ran, each with the number of times.
    """

    FILES = (shared.__file__, call_module.__file__, engine_module.__file__)

    def __init__(self, at: tuple[CodeType, int, int] | None = None) -> None:
        self.lines: dict[tuple[CodeType, int], int] = {}
        self._at = at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self.FILES:
            return None
        # The end of a block is no such place: there, Python looks for signals only when the block has been left.
        if event == "line" and not getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
            place = (frame.f_code, frame.f_lineno)
            self.lines[place] = self.lines.get(place, 0) + 1
            if self._at == (*place, self.lines[place]):
                raise KeyboardInterrupt
        return self

    def during(self, call: Callable[[], Any]) -> Any:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return call()
        finally:
            sys.settrace(before)


def request_to(llm: EnsembleLLM, prompt: str, steps: int) -> Request[Answer]:
    (request,) = llm._requests.for_prompts([prompt], {"max_new_tokens": steps}).requests
    assert isinstance(request, Request)
    return request


def opened(llm: EnsembleLLM, prompt: str, steps: int) -> tuple[Call, list[str]]:
    """A call that nobody waits for yet, and the text that its steps have added."""
    request, shown = request_to(llm, prompt, steps), list[str]()
    return engine_of(llm).open([request], lambda: shown.append(str(request.sequences[0].drain()))), shown


def delay(monkeypatch: pytest.MonkeyPatch, engine: SharedEngine, method: str, seconds: float) -> None:
    """Let a method of an engine begin later."""
    call = getattr(engine, method)

    def late() -> None:
        time.sleep(seconds)
        call()

    monkeypatch.setattr(engine, method, late)


def test_an_interrupt_before_any_line_leaves_nobody_hanging_and_loses_nothing(
    llm: EnsembleLLM, members: list[LocalMember]
) -> None:
    """One caller drives and is interrupted; another one then has all of its text, or an error."""
    engine, few = engine_of(llm), {"max_new_tokens": 3}
    wanted = llm.generate(PROMPTS[1], **few).text

    def driven(interrupt: Interrupt) -> Any:
        (left, _), (other, shown) = opened(llm, PROMPTS[2], 9), opened(llm, PROMPTS[1], 3)

        def leave(_: Any) -> None:
            left.close()

        with at_forward(members[0], 2, leave), suppress(KeyboardInterrupt):
            interrupt.during(lambda: llm.generate(PROMPTS[0], **few))
        try:
            with other:
                in_background(other.wait).result(SOON)
        except EngineError as error:
            return error
        return "".join(shown)

    trial = Interrupt()
    assert driven(trial) == wanted
    assert len(trial.lines) > 60
    for place, count in trial.lines.items():
        for number in range(1, min(count, 2) + 1):
            found, where = driven(Interrupt((*place, number))), f"{place[0].co_name}:{place[1]}, time {number}"
            assert isinstance(found, EngineError) or found == wanted, where
            assert engine._driver is None, where
    assert in_background(lambda: llm.generate(PROMPTS[1], **few).text).result(SOON) == wanted


def test_a_stream_has_its_end_whenever_it_is_read(llm: EnsembleLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request ends in the middle of a step; what it holds is complete only after the driver's report."""
    engine, wanted = engine_of(llm), llm.generate(PROMPTS[0], **GREEDY).text
    delay(monkeypatch, engine, "_report", 0.03)
    driven = in_background(lambda: llm.generate(PROMPTS[1], max_new_tokens=40))
    while engine._driver is None:
        time.sleep(0.001)
    text = ""
    for piece in llm.stream(PROMPTS[0], **GREEDY):
        text += str(piece)
        time.sleep(0.02)
    assert text == wanted
    driven.result(SOON)


def test_a_caller_that_waits_no_more_is_not_woken_in_anothers_place(
    llm: EnsembleLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(llm)
    monkeypatch.setattr(call_module, "_PATIENCE", 0.001)
    delay(monkeypatch, engine, "_wake_ready", 0.01)
    driven = in_background(lambda: llm.generate(PROMPTS[1], max_new_tokens=20))
    while engine._driver is None:
        time.sleep(0.0001)
    call, shown = opened(llm, PROMPTS[0], 4)
    with call:
        call.wait(lambda: bool(shown))
        assert call.waits is None
    driven.result(SOON)


def test_an_executor_of_one_thread_is_enough_for_both_kinds_of_calls(llm: EnsembleLLM) -> None:
    """An asynchronous call's step waits for a thread in which a synchronous call waits for a step."""
    wanted = llm.generate(PROMPTS[1], **GREEDY)

    async def ask() -> Any:
        loop, free = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, free.wait)
        synchronous = loop.run_in_executor(None, lambda: llm.generate(PROMPTS[1], **GREEDY))
        call, _ = opened(llm, PROMPTS[0], 4)
        with call:
            asynchronous = asyncio.ensure_future(call.async_wait())
            await asyncio.sleep(0.01)  # its step waits for the thread now, behind the other call
            free.set()
            await asyncio.gather(busy, asynchronous)
        return await synchronous

    assert in_background(lambda: asyncio.run(ask())).result(SOON) == wanted


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_inside_a_step_is_an_error(is_async: bool, llm: EnsembleLLM, members: list[LocalMember]) -> None:
    wanted = llm.generate(PROMPTS[0], **GREEDY)

    def ask(_: Any) -> None:
        asyncio.run(llm.agenerate(PROMPTS[1])) if is_async else llm.generate(PROMPTS[1])

    with at_forward(members[0], 2, ask):
        running = in_background(lambda: llm.generate(PROMPTS[0], **GREEDY))
        with pytest.raises(EngineError, match="inside one of its own steps"):
            running.result(SOON)
    assert in_background(lambda: llm.generate(PROMPTS[0], **GREEDY)).result(SOON) == wanted
    assert not engine_of(llm)._calls


def test_a_call_that_is_closed_before_it_is_added_is_never_added(llm: EnsembleLLM) -> None:
    """Its opening and its closing come between the two halves of a driver's settling."""
    engine, (call, shown) = engine_of(llm), opened(llm, PROMPTS[0], 4)
    engine._opened.clear()
    call.close()
    engine._opened.append(call)
    llm.generate(PROMPTS[1], **GREEDY)
    assert not engine._calls
    assert not shown


async def test_a_call_that_failed_before_anybody_waited_is_an_error(llm: EnsembleLLM) -> None:
    """Another caller's step may end it first; what it has shown by then comes before the error."""
    call, _ = opened(llm, PROMPTS[0], 4)
    with call:
        call.fail(RuntimeError("gone"))
        items, shown = deque(["a"]), list[str]()
        with pytest.raises(RuntimeError, match="gone"):
            shown.extend(call.drain(items))
        for empty in (deque[str](), deque(["a"])):
            with pytest.raises(RuntimeError, match="gone"):
                _ = [item async for item in call.async_drain(empty)]
    assert not items


def test_a_call_whose_report_fails_is_aborted(llm: EnsembleLLM) -> None:
    engine, request = engine_of(llm), request_to(llm, PROMPTS[0], 40)

    def fail() -> None:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"), engine.open([request], fail) as call:
        call.wait()
    assert not engine._engine.has_unfinished


def test_an_answer_that_cannot_be_completed_is_an_error(llm: EnsembleLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("no end")

    monkeypatch.setattr(AnswerInProgress, "finish", fail)
    with pytest.raises(RuntimeError, match="no end"):
        llm.generate(PROMPTS[0], **GREEDY)


def fail_between_members(engine: Engine, error: type[BaseException]) -> None:
    """Let the second member's context raise where sequences are dropped from it, unless all are."""
    assert engine._contexts
    context = engine._contexts.by_member[1]
    select = context.select

    def fail(sequences: Sequence[int]) -> None:
        if sequences:
            raise error
        select(sequences)

    context.select = fail  # type: ignore[method-assign]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_comes_between_the_members_of_an_abort_drops_all(error: type[BaseException]) -> None:
    """Their contexts differ then."""
    setting = Setting()
    engine, requests = setting.engine(), [setting.request(prompt, GREEDY) for prompt in PROMPTS[:2]]
    for request in requests:
        engine.add(request)
    engine.step()
    fail_between_members(engine, error)
    with suppress(KeyboardInterrupt):
        engine.abort(requests[0])
    assert isinstance(requests[1].failure, EngineError if error is KeyboardInterrupt else error)
    assert not engine.has_unfinished


def test_logits_that_are_no_distribution_and_an_error_while_they_are_dropped_drop_all() -> None:
    setting = Setting()
    engine, requests = setting.engine(), [setting.request(prompt, GREEDY) for prompt in PROMPTS[:2]]
    for request in requests:
        engine.add(request)
    engine.step()
    fail_between_members(engine, RuntimeError)

    def spoil(out: Any) -> None:
        out.logits[0] = torch.nan

    with at_forward(setting.ensemble.members[0], 1, spoil):  # type: ignore[arg-type]
        engine.step()
    assert all(request.failure for request in requests)
    assert not engine.has_unfinished


async def test_closing_an_asynchronous_stream_frees_it_at_once(llm: EnsembleLLM) -> None:
    stream = llm.astream(PROMPTS[0], max_new_tokens=40)
    await stream.__anext__()
    await stream.aclose()
    assert not engine_of(llm)._calls


def test_a_call_of_a_loop_that_was_closed_frees_what_it_holds(llm: EnsembleLLM) -> None:
    engine, loop = engine_of(llm), asyncio.new_event_loop()
    task = loop.create_task(llm.agenerate(PROMPTS[0], max_new_tokens=400))
    while not engine._calls:
        loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    del task
    while engine._driver:
        time.sleep(0.001)
    gc.collect()
    in_background(lambda: llm.generate(PROMPTS[1], **GREEDY)).result(SOON)
    assert not engine._calls
