"""One engine for all callers: calls from any number of threads and event loops are decoded together.

There is no thread beside the callers'. Of those that wait for tokens, one drives: it steps the engine for all of them,
until its own call has ended; then another one drives. A caller alone thus pays for nothing, nothing runs where nobody
waits, and a process that forks or exits leaves no thread behind.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any
from weakref import WeakSet

from deepen_llm.engine.call import Call
from deepen_llm.engine.engine import Engine, interrupted
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.sequence import Request
from deepen_llm.errors import DeepenError, EngineError

_engines: WeakSet[SharedEngine] = WeakSet()


class SharedEngine:
    """An engine that many threads and event loops use at once.

    Args:
        ensemble: The ensemble.
        batch_size: The most sequences at a time; fewer where their caches would not fit into memory.
        max_waiting: The most sequences that wait beside them; None for any number.

    Attributes:
        ensemble: See above.
        batch_size: See above.
        max_waiting: See above.
    """

    def __init__(self, ensemble: Ensemble, batch_size: int, max_waiting: int | None = None) -> None:
        self.ensemble, self.batch_size, self.max_waiting = ensemble, batch_size, max_waiting
        self._begin()
        _engines.add(self)

    def _begin(self) -> None:
        """Begin without calls."""
        self._engine = Engine(self.ensemble, self.batch_size, max_waiting=self.max_waiting)
        self._lock = threading.RLock()  # a garbage collection may close a call inside any of its blocks
        self._driver: object | None = None
        self._driving_thread = 0
        self._calls: list[Call] = []
        self._opened, self._closed = deque[Call](), deque[Call]()

    def __getstate__(self) -> dict[str, Any]:
        """The state without calls, which stay where they were made."""
        return {"ensemble": self.ensemble, "batch_size": self.batch_size, "max_waiting": self.max_waiting}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """An engine without calls."""
        self.__init__(**state)  # type: ignore[misc]

    def open(self, requests: Sequence[Request[Any]], on_step: Callable[[], None] = lambda: None) -> Call:
        """Add the requests of one call; close the call to abort those that have not ended.

        Args:
            requests: The requests.
            on_step: Called in the driving thread after each step that may have added tokens to them.
        """
        call = Call(self, requests, on_step)
        self._opened.append(call)
        return call

    def turn(self, call: Call, until: Callable[[], bool]) -> Future[None] | None:
        """What a caller has to do next, while its condition does not hold.

        Args:
            call: The call.
            until: The condition; any thread may evaluate it at any time.

        Returns:
            None where the caller is to `drive`; else what to wait for, before it looks again.

        Raises:
            EngineError: The calling thread is in the middle of a step, which cannot wait for a later one.
        """
        with self._lock:
            if self._driver is None:
                return None
            if self._driving_thread == threading.get_ident():
                raise EngineError(
                    "a call of an ensemble inside one of its own steps",
                    hint="ask before or after, or ask another ensemble over the same members",
                )
            if until():
                return _done()
            call.waits = (until, Future())
            return call.waits[1]

    def stop_waiting(self, call: Call) -> None:
        """Wake a caller no more: it does not wait now."""
        with self._lock:
            call.waits = None

    def drive(self, until: Callable[[], bool], *, once: bool = False) -> None:
        """Step the engine for all callers until a condition holds; return at once where another one drives.

        The role is taken here, in the thread that steps: a step that waits for a thread of an executor keeps nobody
        from driving.

        Args:
            until: The condition.
            once: Whether to return after one step.
        """

        def steps() -> None:
            while not until():
                self._settle()
                self._engine.step()
                self._report()
                if once:
                    break

        try:
            self._as_driver(steps)
        finally:
            self._sweep()

    def close(self, call: Call) -> None:
        """Abort what has not ended of a call, at once or before the next step; may be called from any thread."""
        self._closed.append(call)
        self._sweep()

    def _sweep(self) -> None:
        """Abort what closed calls have left, unless somebody drives, who does so before each step and at the end."""
        while self._closed and self._driver is None:
            self._as_driver(lambda: None)

    def _as_driver(self, work: Callable[[], None]) -> None:
        """Do some work as the driver, where nobody else drives."""
        driver = object()
        try:
            try:
                if self._claim(driver):
                    work()
            finally:
                self._release(driver)
        finally:
            self._release(driver)  # where an interrupt came into the first one

    def _claim(self, driver: object) -> bool:
        """Whether the engine was free, and is the driver's now."""
        with self._lock:
            if self._driver is not None:
                return False
            self._driver, self._driving_thread = driver, threading.get_ident()
            return True

    def _release(self, driver: object) -> None:
        """Let another one drive, where this one did."""
        if self._driver is not driver:
            return
        try:
            self._settle()
        finally:
            with self._lock:
                self._driver = None
                self._wake_ready()
                self._wake(next((other for other in (*self._calls, *self._opened) if other.waits), None))

    def _settle(self) -> None:
        """Add the requests of calls that were opened, and abort those of calls that were closed; by the driver.

        A call leaves its queue last, so that an interrupt loses none.
        """
        while self._opened:
            call = self._opened[0]
            if not call.closed and call not in self._calls:
                self._begin_call(call)
            self._opened.popleft()
        while self._closed:
            call = self._closed[0]
            if call in self._calls:
                left = [request for request in call.requests if request.unfinished]
                self._engine.abort(*left) if left else None
                self._calls.remove(call)
            self._closed.popleft()

    def _begin_call(self, call: Call) -> None:
        try:
            self._calls.append(call)
            for request in call.requests:
                self._add(request, call)
        except BaseException:  # Ctrl-C: not all may have been added
            call.fail(interrupted())
            raise

    def _add(self, request: Request[Any], call: Call) -> None:
        try:
            self._engine.add(request, call)
        except DeepenError as error:
            request.failure = error

    def _report(self) -> None:
        """Tell calls of a step, and wake those whose condition holds."""
        for call in self._calls:
            call.note_step()
        with self._lock:
            self._wake_ready()

    def _wake_ready(self) -> None:
        for call in [*self._calls]:  # a garbage collection may close another one meanwhile
            if call.waits and call.waits[0]():
                self._wake(call)

    def _wake(self, call: Call | None) -> None:
        waits = call.waits if call else None
        if call and waits:
            call.waits, (_, future) = None, waits
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _forked(self) -> None:
        """In a child process: the threads that drove and waited are the parent's."""
        error = EngineError("the process forked while this call was decoded", hint="ask again in the child process")
        for call in (*self._calls, *self._opened):
            if not call.ended:
                call.fail(error)
        self._begin()


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _after_fork() -> None:
    for engine in list(_engines):
        engine._forked()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
