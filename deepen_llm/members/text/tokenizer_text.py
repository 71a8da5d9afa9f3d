"""The text side of every member that has a `transformers` tokenizer, wherever its model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from deepen_llm.members.text.chat import ChatEncoder
from deepen_llm.members.text.encoding import Prompt, TextEncoder
from deepen_llm.members.text.segments import first_tokens
from deepen_llm.members.text.side import Message, TextSide
from deepen_llm.members.text.transcript import Transcript
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.reader import CallReader, Reader
from deepen_llm.tools.template_reader import TemplateReader
from deepen_llm.vocabulary import Vocabulary


class TokenizerText(TextSide):
    """Prompts, conversations and tools through one tokenizer and its chat template.

    Args:
        name: The member's name, for errors.
        tokenizer: Its tokenizer.
        vocabulary: Its vocabulary, as wide as the model's logits.

    Attributes:
        encoder: Encodes its text.
        chat: Encodes its conversations.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary) -> None:
        self.name, self.tokenizer, self.vocabulary = name, tokenizer, vocabulary
        self.encoder = TextEncoder(tokenizer, vocabulary.special, vocabulary.surfaces)
        self.chat = ChatEncoder(name, tokenizer, vocabulary, self.encoder)

    @override
    def encode_prompt(self, text: str) -> Prompt:
        return self.encoder.prompt(text)

    @override
    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> Prompt:
        merged = {**self.chat_template_kwargs, **(variables or {})}
        return self.chat.encode(messages, tools, merged, continue_final_message=continue_final_message)

    @override
    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> str:
        merged = {**self.chat_template_kwargs, **(variables or {})}
        return self.chat.render(messages, tools, merged, continue_final_message=continue_final_message)

    @override
    def reads_variable(self, name: str) -> bool:
        return self.chat.template.reads(name)

    @property
    @override
    def tool_format(self) -> ToolFormat:
        return self.chat.tool_format

    @override
    def reader(self, prompt: Prompt, toolbox: Toolbox | None, *, structured: bool = False) -> Reader | None:
        tools = toolbox.callable_tools if toolbox else ()
        if not structured and TemplateReader.fits(self.tokenizer) and (not toolbox or self.chat.own_format):
            return TemplateReader(self.tokenizer, self.chat.spelled(prompt.ids), tools)
        return CallReader(self.tool_format, [tool.name for tool in tools]) if toolbox else None

    def last_tokens(self, prompt: Prompt, tokens: int) -> Prompt:
        """The end of a prompt that is too long for the context window.

        Args:
            prompt: The prompt.
            tokens: The most tokens to keep.
        """
        return self.encoder.last_tokens(prompt, tokens)

    @override
    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        for start in (prompt, self.encoder.fixed(list(prompt.ids))):
            script = Transcript(self.encoder, start)
            script.append_text(text)
            if script.ids[: len(prompt.ids)] == list(prompt.ids):
                break
        return script.ids[len(prompt.ids) :]

    @override
    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        return first_tokens(self.encoder, self.vocabulary, texts)
