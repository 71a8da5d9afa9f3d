"""Synchronous and asynchronous streams of text; closing or abandoning one stops the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from deepen_llm.outputs import Output, Piece

Item = TypeVar("Item")


class TextStream(Iterator[Piece]):
    """Pieces of one answer's text; closing or abandoning it stops the models.

    A piece without text holds tool calls or reasoning.

    Args:
        pieces: A generator of pieces that returns the whole output.

    Attributes:
        output: The whole output, once the stream has ended; None before.
    """

    def __init__(self, pieces: Generator[Piece, None, Output]) -> None:
        self.output: Output | None = None
        self._pieces = pieces

    def __next__(self) -> Piece:
        """The next piece."""
        try:
            return next(self._pieces)
        except StopIteration as end:
            self.output = end.value or self.output
            raise

    def close(self) -> None:
        """Stop the models and free their memory."""
        self._pieces.close()


class AsyncTextStream(AsyncIterator[Piece]):
    """A `TextStream` that runs in a thread, so that the event loop is free.

    Args:
        open_stream: Opens the `TextStream`; called once, on the first step.
    """

    def __init__(self, open_stream: Callable[[], TextStream]) -> None:
        self._open_stream = open_stream
        self._stream: TextStream | None = None
        self._steps = in_thread(self._pieces(), self._close)

    @property
    def output(self) -> Output | None:
        """The whole output, once the stream has ended; None before."""
        return self._stream.output if self._stream else None

    async def __anext__(self) -> Piece:
        """The next piece."""
        return await self._steps.__anext__()

    async def aclose(self) -> None:
        """Stop the models and free their memory."""
        await self._steps.aclose()

    def _pieces(self) -> Iterator[Piece]:
        self._stream = self._open_stream()
        yield from self._stream

    def _close(self) -> None:
        if self._stream:
            self._stream.close()


async def in_thread(items: Iterator[Item], close: Callable[[], None]) -> AsyncGenerator[Item, None]:
    """Iterate in a thread, one step at a time; where the caller is cancelled, the current step is the last.

    Args:
        items: What to iterate.
        close: Frees the iterator's memory.
    """
    end: Any = object()
    try:
        while True:
            # A future, not a task: a loop that shuts down cancels its tasks, and would not wait for the thread.
            step = asyncio.get_running_loop().run_in_executor(None, next, items, end)
            try:
                item = await asyncio.shield(step)
            finally:
                while not step.done():  # a second cancellation waits for the step too
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([step])
            if item is end:
                return
            yield item
    finally:
        close()
