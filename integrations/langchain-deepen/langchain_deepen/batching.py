"""Runs a LangChain batch as one batch of `EnsembleLLM`.

LangChain's `invoke` handles the run, the callbacks and the cache of one input. A batch calls it once per input, each in
a thread or task. A call that needs the models waits at a `BatchBarrier`; once every call waits there or has ended, the
inputs of the waiting calls are decoded as one batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor

from deepen_llm import LazyEnsemble, Output
from langchain_deepen.errors import translated

_SLOT: ContextVar[BatchSlot | None] = ContextVar("deepen_slot", default=None)
Call = tuple[Any, Any]  # an input, and its configuration
Results = list[Any]
Outputs = Sequence[Output | BaseException]
Run = Callable[[Sequence[Any]], Outputs]


class BatchSlot:
    """The slot of one call in a batch; it takes at most one item.

    Args:
        barrier: The barrier of the batch.
        index: The input's index.
    """

    def __init__(self, barrier: BatchBarrier, index: int) -> None:
        self.barrier, self.index, self.free = barrier, index, True

    def take(self, item: Any) -> Future[Output]:
        """Add the item that the models are to answer; the future gets the answer once the batch is decoded."""
        self.free = False
        return self.barrier.arrive(self.index, item)

    async def atake(self, item: Any) -> Output:
        """Call `take`, and wait for the answer."""
        return await asyncio.wrap_future(self.take(item))


class BatchBarrier:
    """Where the calls of one batch wait, until every call has added its item or ended without one.

    Args:
        count: Number of calls.
        source: The ensemble that the calls are for.
        options: The options that the calls share.
    """

    def __init__(self, count: int, source: LazyEnsemble, options: Mapping[str, Any]) -> None:
        self.source, self.options = source, options
        self.complete: Future[None] = Future()
        self._missing, self._lock = count, threading.Lock()
        self._arrived: dict[int, tuple[Any, Future[Output]]] = {}
        self._failed: BaseException | None = None

    @property
    def items(self) -> list[Any]:
        """The items that were added, in the order of the inputs."""
        return [self._arrived[index][0] for index in sorted(self._arrived)]

    @contextmanager
    def slot(self, index: int) -> Iterator[None]:
        """Set the call's slot; a call that ends without adding an item is counted as ended."""
        slot = BatchSlot(self, index)
        token = _SLOT.set(slot)
        try:
            yield
        finally:
            _SLOT.reset(token)
            if slot.free:
                self._count()

    def arrive(self, index: int, item: Any) -> Future[Output]:
        """Add the item of a call; see `BatchSlot.take`."""
        answer: Future[Output] = Future()
        with self._lock:
            self._arrived[index] = item, answer
            failed = self._failed
        if failed is not None:
            answer.set_exception(translated(failed))
        self._count()
        return answer

    def settle(self, outputs: Outputs) -> None:
        """Set the waiting calls' answers, or their errors."""
        answers = [self._arrived[index][1] for index in sorted(self._arrived)]
        for answer, output in zip(answers, outputs, strict=True):
            if isinstance(output, BaseException):
                answer.set_exception(translated(output))
            else:
                answer.set_result(output)

    def fail(self, error: BaseException) -> None:
        """Set an error as the answer of every call, also of those that add their item later."""
        with self._lock:
            self._failed = error
            waiting = [answer for _, answer in self._arrived.values() if not answer.done()]
        for answer in waiting:
            answer.set_exception(translated(error))

    def _count(self) -> None:
        with self._lock:
            self._missing -= 1
            done = self._missing == 0 and not self.complete.done()
        if done:
            self.complete.set_result(None)


def current_slot(source: LazyEnsemble, options: Mapping[str, Any]) -> BatchSlot | None:
    """The slot of this call in a batch with this ensemble and these options; None outside of one."""
    slot = _SLOT.get()
    fits = slot is not None and slot.free and slot.barrier.source is source and slot.barrier.options == options
    return slot if fits else None


def run_batch(barrier: BatchBarrier, calls: Sequence[Call], invoke: Callable[[Any, Any], Any], run: Run) -> Results:
    """Invoke the model on every input and configuration; return results, with an error in the place of one that failed.

    Args:
        barrier: The barrier of the batch.
        calls: Inputs with their configurations.
        invoke: LangChain's call for one input.
        run: Decodes the items as one batch.
    """

    def invoke_one(index: int, call: Call) -> Any:
        with barrier.slot(index):
            return invoke(*call)

    with ContextThreadPoolExecutor(max_workers=len(calls)) as pool:
        try:
            running = [pool.submit(invoke_one, index, call) for index, call in enumerate(calls)]
        except BaseException as error:  # no thread can be started: the calls that wait must end
            barrier.fail(error)
            raise
        try:
            barrier.complete.result()
            if barrier.items:
                barrier.settle(run(barrier.items))
        except BaseException as error:
            barrier.fail(error)
            if not isinstance(error, Exception):
                raise
    return [future.exception() or future.result() for future in running]


async def arun_batch(
    barrier: BatchBarrier,
    calls: Sequence[Call],
    invoke: Callable[[Any, Any], Awaitable[Any]],
    run: Callable[[Sequence[Any]], Awaitable[Outputs]],
) -> Results:
    """The asynchronous `run_batch`; each call is a task."""

    async def invoke_one(index: int, call: Call) -> Any:
        with barrier.slot(index):
            return await invoke(*call)

    running = [asyncio.ensure_future(invoke_one(index, call)) for index, call in enumerate(calls)]
    try:
        await asyncio.wrap_future(barrier.complete)
        if barrier.items:
            barrier.settle(await run(barrier.items))
    except Exception as error:
        barrier.fail(error)
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return await asyncio.gather(*running, return_exceptions=True)
