"""The seam: one model that takes part, and what it has read so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from deepen_llm.config import MemberConfig
from deepen_llm.members.encoding import Prompt
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.reader import Reader
from deepen_llm.vocabulary import Vocabulary

Message = Mapping[str, Any]
"""A chat message: ``role`` and ``content``, and whatever else the member's template reads."""


class Context(ABC):
    """What one member has read: B rows of text, each with the next-token logits after it."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Next-token logits for the text so far, fp32 ``[B, V_i]``; padding beyond the tokenizer is ``-inf``.

        Raises:
            LogitsError: A row is NaN, ``+inf`` or all ``-inf``.
        """

    @abstractmethod
    def append_text(self, pieces: Sequence[str]) -> None:
        """Hear a piece of text in every row (it may be empty); special tokens in it are plain text."""

    @abstractmethod
    def append_tokens(self, tokens: Sequence[int]) -> None:
        """Hear one token of the member's own vocabulary in every row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""

    @abstractmethod
    def close(self) -> None:
        """Free what the context holds; it cannot be used afterwards."""

    @property
    @abstractmethod
    def ids(self) -> list[list[int]]:
        """Token ids of each row, the prompt's included."""


class Member(ABC):
    """One model that takes part in an ensemble."""

    name: str
    vocabulary: Vocabulary
    embedding: Tensor  # [V_i, D_i], input token embeddings
    context_length: int | None  # tokens that fit, None where the model knows no bound
    source: MemberConfig | None = None  # where it was loaded from, None for one that lives in memory

    @abstractmethod
    def encode_prompt(self, text: str) -> Prompt:
        """Encode a plain prompt; special tokens spelled out in it are recognised, as everywhere in the field."""

    @abstractmethod
    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Prompt:
        """Encode a conversation through the member's own chat template, ready for the assistant's answer.

        Args:
            messages: The messages.
            tools: The tools that the assistant may call; a template that knows none is told in words.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """

    @abstractmethod
    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The text that `encode_chat` encodes, special tokens spelled out.

        Raises:
            PromptError: See `encode_chat`.
        """

    @property
    @abstractmethod
    def tool_format(self) -> ToolFormat:
        """How the member writes tool calls."""

    @abstractmethod
    def reader(self, prompt: Prompt, toolbox: Toolbox | None, *, structured: bool = False) -> Reader | None:
        """Tells text from all else in the member's answer to a conversation; None where all is text.

        Args:
            prompt: The conversation.
            toolbox: The tools that may be called.
            structured: Whether a structure holds all of the answer, which then has no reasoning before it.
        """

    @abstractmethod
    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        """The member's token ids of ``text`` where it follows the prompt."""

    @abstractmethod
    def open(self, prompts: Sequence[Prompt]) -> Context:
        """Begin to read: a context with one row for each prompt."""
