"""The model: LlamaIndex's eight endpoints, and tools.

Long for LlamaIndex's signatures, each of which has its own decorator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from llama_index.llms.deepen.messages import conversation
from llama_index.llms.deepen.responses import answered, completed
from llama_index.llms.deepen.streams import GrowingChat, GrowingCompletion, arelay, relay
from llama_index.llms.deepen.structured import StructuredPrediction
from llama_index.llms.deepen.tools import asked, definition, selections

from deepen_llm import EnsembleLLM
from deepen_llm.members.encoding import TOKENIZER_LOCK
from deepen_llm.members.local import LocalMember
from deepen_llm.tools.messages import normalised


class DeepenLLM(StructuredPrediction):
    """Several local language models with different vocabularies, as one LlamaIndex model.

    Exactly one of ``ensemble``, ``members`` and ``config`` says which ones; weights are loaded on first use. Options
    of generation have the names that `deepen_llm.GenerationOptions` has, here and with every call; those left out are
    the ensemble's own. A ``stop`` set here ends free text; structured answers and required tool calls come whole.

    Args:
        ensemble: A live `deepen_llm.EnsembleLLM`; it is left out of serialised forms.
        members: Folders, hub ids, `deepen_llm.MemberConfig` or their fields.
        config: A configuration file, as `EnsembleLLM.save_config` writes it.
        main_model: Index of the member whose vocabulary tokens are chosen from; this and the next four with
            ``members`` alone.
        weights: Aggregation weights, one per member.
        fusion: A fusion method, its name, or its fields.
        eos_policy: Who ends a text: the ``fused`` distribution, or the ``main`` model alone.
        batch_size: The most texts decoded together.
        is_chat_model: False for members without chat templates: prompts are then continued as they are.
        **given: Fields of `deepen_llm.GenerationOptions`, and of LlamaIndex's ``LLM``.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        LoadError: A member's folder holds no checkpoint.

    Example:
        >>> from deepen_llm import specialists
        >>> from llama_index.llms.deepen import DeepenLLM
        >>> llm = DeepenLLM(members=specialists.paths(), fusion="bayes")
        >>> llm.chat([ChatMessage("What is the opposite of hot?")]).message.content
        ' Cold'
    """

    def __init__(self, *, ensemble: EnsembleLLM | None = None, **given: Any) -> None:
        super().__init__(ensemble=ensemble, **given)
        if self.is_chat_model and given.get("messages_to_prompt") is None:
            self.messages_to_prompt = self._in_template

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Continue a prompt.

        Args:
            prompt: The prompt; it is continued as it is, unless ``completion_to_prompt`` changes it.
            formatted: Whether that was done already.
            **kwargs: Fields of `deepen_llm.GenerationOptions`.
        """
        ensemble = self.load()
        return completed(ensemble, ensemble.generate(self._prompt(prompt, formatted), **self._options(kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """`complete`, piece by piece."""
        ensemble = self.load()
        stream = ensemble.stream(self._prompt(prompt, formatted), **self._options(kwargs))
        return relay(stream, GrowingCompletion(ensemble))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """`complete`, while the event loop goes on."""
        ensemble = await self._source.aload()
        return completed(ensemble, await ensemble.agenerate(self._prompt(prompt, formatted), **self._options(kwargs)))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """`stream_complete`, while the event loop goes on."""
        ensemble = await self._source.aload()
        stream = ensemble.astream(self._prompt(prompt, formatted), **self._options(kwargs))
        return arelay(stream, GrowingCompletion(ensemble))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation, through each member's own chat template.

        Args:
            messages: The conversation.
            **kwargs: Fields of `deepen_llm.config.ChatOptions`: those of `complete`, and ``tools``, ``tool_choice``,
                ``parallel_tool_calls``.
        """
        ensemble = self.load()
        return answered(ensemble, ensemble.chat(conversation(messages), **self._options(kwargs)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """`chat`, piece by piece."""
        ensemble = self.load()
        return relay(ensemble.stream_chat(conversation(messages), **self._options(kwargs)), GrowingChat(ensemble))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat`, while the event loop goes on."""
        ensemble = await self._source.aload()
        return answered(ensemble, await ensemble.achat(conversation(messages), **self._options(kwargs)))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """`stream_chat`, while the event loop goes on."""
        ensemble = await self._source.aload()
        return arelay(ensemble.astream_chat(conversation(messages), **self._options(kwargs)), GrowingChat(ensemble))

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls that a response asks for; of a streamed one, as far as it has come.

        Args:
            response: The response.
            error_on_no_tool_call: Whether there must be one.
            **kwargs: Nothing that matters here.

        Raises:
            StructureError: There is none.
        """
        return selections(response, required=error_on_no_tool_call)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return {
            "messages": asked(user_msg, chat_history),
            "tools": [definition(tool) for tool in tools],
            "tool_choice": tool_choice or ("required" if tool_required else "auto"),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _prompt(self, prompt: str, formatted: bool) -> str:
        if formatted or self.completion_to_prompt is None:
            return prompt
        return self.completion_to_prompt(prompt)

    def _in_template(self, messages: Sequence[ChatMessage]) -> str:
        """The conversation as the main model's template writes it, ready to be continued."""
        ensemble = self.load()
        main = cast("LocalMember", ensemble.members[ensemble.settings.main_model])
        plain = [normalised(message) for message in conversation(messages)]
        main.encode_chat(plain)  # which tells what the template refuses
        with TOKENIZER_LOCK:
            written: str = main.tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False)
        return written
