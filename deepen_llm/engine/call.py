"""A call of the shared engine: its requests, and the thread or task that waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from typing_extensions import Self

from deepen_llm.engine.engine import interrupted
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.threads import in_thread

_PATIENCE = 1.0  # seconds after which a caller that waits looks whether anybody drives
Item = TypeVar("Item")


class Driven(Protocol):
    """The parts of a `SharedEngine` that its calls use."""

    def turn(self, call: Call, until: Callable[[], bool]) -> Future[None] | None:
        """See `SharedEngine.turn`."""

    def stop_waiting(self, call: Call) -> None:
        """See `SharedEngine.stop_waiting`."""

    def drive(self, until: Callable[[], bool], *, once: bool = False) -> None:
        """See `SharedEngine.drive`."""

    def close(self, call: Call) -> None:
        """See `SharedEngine.close`."""


class Call:
    """The requests of one call, while they are decoded; made by `SharedEngine.open`.

    Args:
        engine: The engine that decodes them.
        requests: The requests.
        on_step: Called in the driving thread after each step that may have added tokens to them.

    Attributes:
        requests: See above.
        ended: Whether all requests have ended or one has failed, and ``on_step`` was called since. Requests end in the
            middle of a step: before the driver has set this, what they hold is not complete.
        closed: Whether the caller has gone.
        waits: The condition that the caller waits for, and what wakes it; None while it does not wait.
    """

    def __init__(self, engine: Driven, requests: Sequence[Request[Any]], on_step: Callable[[], None]) -> None:
        self.requests, self.ended, self.closed = requests, not requests, False
        self.waits: tuple[Callable[[], bool], Future[None]] | None = None
        self._engine, self._on_step = engine, on_step

    def __enter__(self) -> Self:
        """The call itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the call."""
        self.close()

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Decode until a condition holds, or the call has ended.

        Args:
            until: The condition; any thread may evaluate it at any time.

        Raises:
            BaseException: What made a request fail.
        """
        condition = self._condition(until)
        while not condition():
            turn = self._engine.turn(self, condition)
            if turn is None:
                self._engine.drive(condition)
                continue
            try:
                with suppress(FutureTimeoutError):
                    turn.result(_PATIENCE)
            finally:
                self._engine.stop_waiting(self)
        self._check()

    def drain(self, items: deque[Item]) -> Iterator[Item]:
        """The items that ``on_step`` appends, as they come, until the call has ended.

        Args:
            items: Where ``on_step`` appends them.

        Raises:
            BaseException: See `wait`.
        """
        while not self.ended or items:
            while items:
                yield items.popleft()
            self.wait(lambda: bool(items))
        self._check()

    async def async_wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """The asynchronous `wait`: steps run in a thread."""
        condition = self._condition(until)
        while not condition():
            turn = self._engine.turn(self, condition)
            if turn is None:
                await in_thread(self._engine.drive, condition, once=True)
                continue
            try:
                await asyncio.wait([asyncio.wrap_future(turn)], timeout=_PATIENCE)
            finally:
                self._engine.stop_waiting(self)
        self._check()

    async def async_drain(self, items: deque[Item]) -> AsyncIterator[Item]:
        """The asynchronous `drain`."""
        while not self.ended or items:
            while items:
                yield items.popleft()
            await self.async_wait(lambda: bool(items))
        self._check()

    def note_step(self) -> None:
        """Called by the driver after each step, until the call has ended."""
        if self.ended:
            return
        ended = self._failure is not None or all(request.ended for request in self.requests)
        try:
            self._on_step()
        except Exception as error:
            self.fail(error)
        except BaseException:  # Ctrl-C: what it took from an answer may be lost
            self.fail(interrupted())
            raise
        self.ended = self.ended or ended

    def fail(self, error: Exception) -> None:
        """End the call with an error."""
        for request in self.requests:
            request.failure = request.failure or error
        self.ended = True

    def close(self) -> None:
        """Abort what has not ended."""
        if not self.closed:
            self.closed = True
            self._engine.close(self)

    def _condition(self, until: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: self.ended or until()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    @property
    def _failure(self) -> BaseException | None:
        return next((request.failure for request in self.requests if request.failure), None)
