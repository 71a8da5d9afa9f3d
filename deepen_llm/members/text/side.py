"""The text side of a member: how it writes prompts, conversations and tool calls in its own tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from deepen_llm.members.text.encoding import Prompt
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.reader import Reader
from deepen_llm.vocabulary import Vocabulary

Message = Mapping[str, Any]
"""A chat message: ``role``, ``content``, and other fields that the member's template reads."""


class TextSide(ABC):
    """The part of a member that encodes text, by its tokenizer and chat template; it always runs in this process.

    Attributes:
        name: The member's name in errors and traces.
        vocabulary: Its vocabulary as bytes, V_i tokens.
        chat_template_kwargs: Variables for its chat template; a call's variables override them.
    """

    name: str
    vocabulary: Vocabulary
    chat_template_kwargs: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def encode_prompt(self, text: str) -> Prompt:
        """Encode a plain prompt; special tokens spelled out in it are recognized, as `transformers` does."""

    @abstractmethod
    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> Prompt:
        """Encode a conversation through the member's own chat template, ready for the assistant's answer.

        Args:
            messages: The messages.
            tools: The tools that the assistant may call; where the template does not write tools, a message describes
                them.
            variables: Variables for the template, which override those of ``chat_template_kwargs``.
            continue_final_message: Continue the last message, in place of beginning a new one.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """

    @abstractmethod
    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> str:
        """The text that `encode_chat` encodes, special tokens spelled out.

        Raises:
            PromptError: See `encode_chat`.
        """

    def reads_variable(self, name: str) -> bool:
        """Whether the member's chat template has a variable of this name."""
        return False

    @property
    @abstractmethod
    def tool_format(self) -> ToolFormat:
        """How the member writes tool calls."""

    @abstractmethod
    def reader(self, prompt: Prompt, toolbox: Toolbox | None, *, structured: bool = False) -> Reader | None:
        """A parser of reasoning and tool calls in the member's answer; None where the whole answer is text.

        Args:
            prompt: The conversation, encoded.
            toolbox: The tools that may be called.
            structured: Whether the whole answer has a structure, so that no reasoning precedes it.
        """

    @abstractmethod
    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        """The member's token ids of ``text`` where it follows the prompt."""

    @abstractmethod
    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The first token of each text's encoding in the middle of another text; -1 where there is none."""
