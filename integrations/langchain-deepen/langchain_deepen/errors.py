"""Converts errors of `deepen_llm` to LangChain's where LangChain has a class of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from deepen_llm.errors import ContextLengthError


class DeepenContextOverflowError(ContextLengthError, ContextOverflowError):
    """A prompt that is too long for a context window; LangChain's middleware catches this class to shorten prompts."""


def translated(error: BaseException) -> BaseException:
    """The error as an instance of LangChain's class, if there is one."""
    if isinstance(error, ContextLengthError) and not isinstance(error, DeepenContextOverflowError):
        converted = DeepenContextOverflowError(error.message, hint=error.hint)
        converted.__cause__ = error
        return converted
    return error


@contextmanager
def as_langchain() -> Iterator[None]:
    """Raise errors from inside as instances of LangChain's classes."""
    try:
        yield
    except ContextLengthError as error:
        raise translated(error) from error
