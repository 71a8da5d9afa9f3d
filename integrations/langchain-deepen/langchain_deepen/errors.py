"""The core's errors, as LangChain expects them: all are the core's own, one is also LangChain's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from deepen_llm.errors import ContextLengthError


class DeepenContextOverflowError(ContextLengthError, ContextOverflowError):
    """A prompt that leaves no room in a context window; what LangChain's middleware catches to shorten it."""


def translated(error: BaseException) -> BaseException:
    """The error as LangChain knows it."""
    if isinstance(error, ContextLengthError) and not isinstance(error, DeepenContextOverflowError):
        made = DeepenContextOverflowError(error.message, hint=error.hint)
        made.__cause__ = error
        return made
    return error


@contextmanager
def as_langchain() -> Iterator[None]:
    """Raise what is raised inside as LangChain knows it."""
    try:
        yield
    except ContextLengthError as error:
        raise translated(error) from error
