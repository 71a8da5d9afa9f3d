"""Synchronous and asynchronous streams of text; closing or abandoning one stops the models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

from deepen_llm.outputs import Output, Piece


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
    """The asynchronous `TextStream`: the models work in a thread, so that the event loop is free.

    Args:
        pieces: An asynchronous generator of pieces; the whole output comes last.

    Attributes:
        output: The whole output, once the stream has ended; None before.
    """

    def __init__(self, pieces: AsyncGenerator[Piece | Output, None]) -> None:
        self.output: Output | None = None
        self._pieces = pieces

    async def __anext__(self) -> Piece:
        """The next piece; its text is empty only where it brings tool calls or reasoning."""
        item = await self._pieces.__anext__()
        if isinstance(item, Piece):
            return item
        self.output = item
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the models and free what they hold."""
        await self._pieces.aclose()
