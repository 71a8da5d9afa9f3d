"""The protocol of text models, which ensembles implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, overload, runtime_checkable

from deepen_llm.members.base import Message
from deepen_llm.outputs import Output, Score
from deepen_llm.requests.streams import AsyncTextStream, TextStream

Conversation = Sequence[Message]


@runtime_checkable
class TextModel(Protocol):
    """Continues prompts, answers conversations and scores texts; `EnsembleLLM` is one.

    `isinstance` finds whether all methods are there. Each has the meaning, the options and the errors of the
    `EnsembleLLM` method of its name.
    """

    @overload
    def generate(self, prompt: str, **options: Any) -> Output: ...
    @overload
    def generate(self, prompt: Sequence[str], **options: Any) -> list[Output]: ...

    @overload
    def chat(self, messages: Conversation, **options: Any) -> Output: ...
    @overload
    def chat(self, messages: Sequence[Conversation], **options: Any) -> list[Output]: ...

    def stream(self, prompt: str, **options: Any) -> TextStream:
        """Continue a prompt piece by piece."""

    def stream_chat(self, messages: Conversation, **options: Any) -> TextStream:
        """Answer a conversation piece by piece."""

    @overload
    def score(self, prompt: str, continuation: str) -> Score: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> list[Score]: ...

    @overload
    async def agenerate(self, prompt: str, **options: Any) -> Output: ...
    @overload
    async def agenerate(self, prompt: Sequence[str], **options: Any) -> list[Output]: ...

    @overload
    async def achat(self, messages: Conversation, **options: Any) -> Output: ...
    @overload
    async def achat(self, messages: Sequence[Conversation], **options: Any) -> list[Output]: ...

    def astream(self, prompt: str, **options: Any) -> AsyncTextStream:
        """The asynchronous `stream`."""

    def astream_chat(self, messages: Conversation, **options: Any) -> AsyncTextStream:
        """The asynchronous `stream_chat`."""

    @overload
    async def ascore(self, prompt: str, continuation: str) -> Score: ...  # type: ignore[overload-overlap]
    @overload
    async def ascore(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> list[Score]: ...
