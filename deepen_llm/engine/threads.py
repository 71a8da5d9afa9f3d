"""Steps of asynchronous calls, in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any


async def in_thread(step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a step in a thread; where the caller is cancelled, the step still comes to its end first."""
    # A future, not a task: a loop that shuts down cancels its tasks, and would not wait for the thread.
    running = asyncio.get_running_loop().run_in_executor(None, lambda: step(*arguments, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():  # a second cancellation waits for the step, too
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise
