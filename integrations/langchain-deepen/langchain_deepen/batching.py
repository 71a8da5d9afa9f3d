"""Many calls, one batch of the core.

LangChain's own `invoke` does all that belongs to one call: its run, its callbacks, its look into the cache. A batch
runs it for every input, and where these calls reach the models they wait for each other: what has arrived goes to the
core together.
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

_SEAT: ContextVar[Seat | None] = ContextVar("deepen_seat", default=None)
Call = tuple[Any, Any]  # an input, and its configuration
Results = list[Any]
Outputs = Sequence[Output | BaseException]
Run = Callable[[Sequence[Any]], Outputs]


class Seat:
    """One call's place in a batch; taken at most once.

    Args:
        gathering: The batch.
        place: The input's index.
    """

    def __init__(self, gathering: Gathering, place: int) -> None:
        self.gathering, self.place, self.free = gathering, place, True

    def take(self, item: Any) -> Future[Output]:
        """Hand over what the models are to answer; the answer comes when all have arrived."""
        self.free = False
        return self.gathering.arrive(self.place, item)

    async def atake(self, item: Any) -> Output:
        """`take`, and the answer."""
        return await asyncio.wrap_future(self.take(item))


class Gathering:
    """The calls of one batch on their way to the core.

    Args:
        count: How many there are.
        source: Whose models they are for.
        options: The options that they share.
    """

    def __init__(self, count: int, source: LazyEnsemble, options: Mapping[str, Any]) -> None:
        self.source, self.options = source, options
        self.complete: Future[None] = Future()
        self._missing, self._lock = count, threading.Lock()
        self._arrived: dict[int, tuple[Any, Future[Output]]] = {}
        self._failed: BaseException | None = None

    @property
    def items(self) -> list[Any]:
        """What has arrived, in the order of the inputs."""
        return [self._arrived[place][0] for place in sorted(self._arrived)]

    @contextmanager
    def seat(self, place: int) -> Iterator[None]:
        """A call's time in the batch; one that never needs the models just leaves."""
        seat = Seat(self, place)
        token = _SEAT.set(seat)
        try:
            yield
        finally:
            _SEAT.reset(token)
            if seat.free:
                self._count()

    def arrive(self, place: int, item: Any) -> Future[Output]:
        """See `Seat.take`."""
        answer: Future[Output] = Future()
        with self._lock:
            self._arrived[place] = item, answer
            failed = self._failed
        if failed is not None:
            answer.set_exception(translated(failed))
        self._count()
        return answer

    def settle(self, outputs: Outputs) -> None:
        """Hand the answers out."""
        answers = [self._arrived[place][1] for place in sorted(self._arrived)]
        for answer, output in zip(answers, outputs, strict=True):
            if isinstance(output, BaseException):
                answer.set_exception(translated(output))
            else:
                answer.set_result(output)

    def fail(self, error: BaseException) -> None:
        """Let every call fail, also those that have not arrived yet."""
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


def seat_for(source: LazyEnsemble, options: Mapping[str, Any]) -> Seat | None:
    """This call's seat in a batch of such calls; None outside of one."""
    seat = _SEAT.get()
    fits = seat is not None and seat.free and seat.gathering.source is source and seat.gathering.options == options
    return seat if fits else None


def together(gathering: Gathering, calls: Sequence[Call], invoke: Callable[[Any, Any], Any], run: Run) -> Results:
    """Invoke the model on every input and configuration; results, or errors in their place.

    Args:
        gathering: Where the calls meet.
        calls: Inputs with their configurations.
        invoke: LangChain's call of one.
        run: The core's call of all that need it.
    """

    def one(place: int, call: Call) -> Any:
        with gathering.seat(place):
            return invoke(*call)

    with ContextThreadPoolExecutor(max_workers=len(calls)) as pool:
        try:
            running = [pool.submit(one, place, call) for place, call in enumerate(calls)]
        except BaseException as error:  # no more threads: those that wait must not wait for ever
            gathering.fail(error)
            raise
        try:
            gathering.complete.result()
            if gathering.items:
                gathering.settle(run(gathering.items))
        except BaseException as error:
            gathering.fail(error)
            if not isinstance(error, Exception):
                raise
    return [future.exception() or future.result() for future in running]


async def atogether(
    gathering: Gathering,
    calls: Sequence[Call],
    invoke: Callable[[Any, Any], Awaitable[Any]],
    run: Callable[[Sequence[Any]], Awaitable[Outputs]],
) -> Results:
    """`together` on the event loop, which goes on."""

    async def one(place: int, call: Call) -> Any:
        with gathering.seat(place):
            return await invoke(*call)

    running = [asyncio.ensure_future(one(place, call)) for place, call in enumerate(calls)]
    try:
        await asyncio.wrap_future(gathering.complete)
        if gathering.items:
            gathering.settle(await run(gathering.items))
    except Exception as error:
        gathering.fail(error)
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return await asyncio.gather(*running, return_exceptions=True)
