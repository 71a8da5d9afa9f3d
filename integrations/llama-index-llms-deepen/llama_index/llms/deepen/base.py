"""The model: LlamaIndex's eight endpoints, and tools.

Long for LlamaIndex's signatures, each of which has its own decorator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from llama_index.llms.deepen.messages import conversation
from llama_index.llms.deepen.responses import answered, completed
from llama_index.llms.deepen.streams import GrowingChat, GrowingCompletion, arelay, relay
from llama_index.llms.deepen.structured import StructuredPrediction
from llama_index.llms.deepen.tools import asked, callable_tools, definition, selections

from deepen_llm import EnsembleLLM, LazyEnsemble
from deepen_llm.errors import PromptError


class DeepenLLM(StructuredPrediction):
    """Several local language models with different vocabularies, as one LlamaIndex model.

    Exactly one of ``ensemble``, ``members`` and ``config`` says which ones. Weights are loaded once, on first use;
    copies share them, and so do instances with the same ``ensemble`` or with equal settings. Options of generation have
    the names that `deepen_llm.GenerationOptions` has, here and with every call; those left out are the ensemble's own. A
    ``stop`` set here ends free text; structured answers and required tool calls come whole. Pickles hold no weights:
    what they make loads them on first use.

    Args:
        ensemble: A live `deepen_llm.EnsembleLLM`; serialised forms say where its members are, if they are anywhere but
            in memory.
        members: Folders, hub ids, `deepen_llm.MemberConfig` or their fields.
        config: A configuration file, as `EnsembleLLM.save_config` writes it.
        main_model: Index of the member whose vocabulary tokens are chosen from. It and all settings up to
            ``draft_model`` go with ``members`` alone; `deepen_llm.EnsembleSettings` describes them further.
        weights: Aggregation weights, one per member; or, to follow the input, ``prompt``, ``entropy``, ``track``, or
            fields.
        fusion: A fusion method, its name, or its fields.
        gate: Where to fuse: ``always``, ``unsure``, ``boundary``, ``safe``, or fields of `Gate`.
        eos_policy: Which distribution may end a text: the ``fused`` one, or the ``main`` model's.
        batch_size: The most texts decoded together.
        draft_tokens: The most tokens that are drafted ahead, for the members to read at once; 0 for none.
        draft_model: A small model of the main model's vocabulary that drafts in its place: a folder, a hub id, a
            `MemberConfig` or its fields.
        is_chat_model: False for members without chat templates: prompts are then continued as they are.
        **given: Fields of `deepen_llm.GenerationOptions`, and of LlamaIndex's ``LLM``.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        LoadError: A member's folder holds no checkpoint.

    Example:
        >>> from deepen_llm import specialists
        >>> from llama_index.llms.deepen import DeepenLLM
        >>> llm = DeepenLLM(members=specialists.paths())
        >>> llm.chat([ChatMessage("What is the opposite of hot?")]).message.content
        ' Cold'
    """

    def __init__(self, *, ensemble: EnsembleLLM | None = None, **given: Any) -> None:
        super().__init__(ensemble=ensemble, **given)
        if self.is_chat_model and given.get("messages_to_prompt") is None:
            self.messages_to_prompt = _InTemplate(self._source)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Continue a prompt.

        Args:
            prompt: The prompt; it is continued as it is, unless ``completion_to_prompt`` changes it.
            formatted: Whether that was done already.
            **kwargs: Fields of `deepen_llm.GenerationOptions`.

        Raises:
            PromptError: The prompt is no string, or empty.
        """
        written, ensemble = self._prompt(prompt, formatted), self.load()
        return completed(ensemble, ensemble.generate(written, **self._completing(kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """`complete`, piece by piece."""
        written, ensemble = self._prompt(prompt, formatted), self.load()
        return relay(ensemble.stream(written, **self._completing(kwargs)), GrowingCompletion(ensemble))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """`complete`, while the event loop goes on."""
        written, ensemble = self._prompt(prompt, formatted), await self._source.aload()
        return completed(ensemble, await ensemble.agenerate(written, **self._completing(kwargs)))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """`stream_complete`, while the event loop goes on."""
        written, ensemble = self._prompt(prompt, formatted), await self._source.aload()
        return arelay(ensemble.astream(written, **self._completing(kwargs)), GrowingCompletion(ensemble))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation, through each member's own chat template.

        Args:
            messages: The conversation.
            **kwargs: Fields of `deepen_llm.ChatOptions`: those of `complete`, and ``tools``, ``tool_choice``,
                ``parallel_tool_calls``, ``continue_final_message``.
        """
        ensemble = self.load()
        return answered(ensemble, ensemble.chat(conversation(messages), **self._chatting(kwargs)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """`chat`, piece by piece."""
        ensemble = self.load()
        return relay(ensemble.stream_chat(conversation(messages), **self._chatting(kwargs)), GrowingChat(ensemble))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat`, while the event loop goes on."""
        ensemble = await self._source.aload()
        return answered(ensemble, await ensemble.achat(conversation(messages), **self._chatting(kwargs)))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """`stream_chat`, while the event loop goes on."""
        ensemble = await self._source.aload()
        return arelay(ensemble.astream_chat(conversation(messages), **self._chatting(kwargs)), GrowingChat(ensemble))

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

    def predict_and_call(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> AgentChatResponse:
        """Let the model choose a tool, and call it.

        Args:
            tools: The tools.
            *args: See LlamaIndex's method of the same name.
            **kwargs: See there.

        Raises:
            ConfigError: Something is no tool, or its arguments cannot be held to its schema.
        """
        return super().predict_and_call(callable_tools(tools), *args, **kwargs)

    async def apredict_and_call(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> AgentChatResponse:
        """See `predict_and_call`."""
        return await super().apredict_and_call(callable_tools(tools), *args, **kwargs)

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
        if not isinstance(prompt, str):
            raise PromptError(
                f"a prompt of type {type(prompt).__name__}", hint="give a string; a call for each of several"
            )
        return prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)


class _InTemplate:
    """Writes a conversation as the main model's template does, ready to be continued.

    It holds no model, so that one can be shown, copied and pickled.
    """

    def __init__(self, source: LazyEnsemble) -> None:
        self._source = source

    def __call__(self, messages: Sequence[ChatMessage]) -> str:
        return self._source.load().render(conversation(messages))
