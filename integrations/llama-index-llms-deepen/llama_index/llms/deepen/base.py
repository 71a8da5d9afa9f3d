"""The LlamaIndex model: the endpoints for completion and chat, and tool calls."""

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
from llama_index.llms.deepen.responses import chat_response, completion_response
from llama_index.llms.deepen.streams import PartialChat, PartialCompletion, astream_responses, stream_responses
from llama_index.llms.deepen.structured import StructuredPrediction
from llama_index.llms.deepen.tools import callable_tools, definition, selections, with_message

from deepen_llm import EnsembleLLM, LazyEnsemble
from deepen_llm.errors import PromptError


class DeepenLLM(StructuredPrediction):
    """Several local language models with different vocabularies, as one LlamaIndex model.

    Exactly one of ``ensemble``, ``members`` and ``config`` names the models. Weights are loaded once, on first use;
    copies share them, and so do instances with the same ``ensemble`` or with equal settings. Generation
    options have the names of `deepen_llm.GenerationOptions`, here and in every call; the ensemble's generation options
    apply where neither sets one. A ``stop`` set here ends free text; it does not cut structured answers and required
    tool calls. Pickles hold no weights: an unpickled model loads them on first use.

    Args:
        ensemble: A loaded `deepen_llm.EnsembleLLM`; serialized forms hold the paths of its members, if they have paths.
        members: Folders, hub ids, `deepen_llm.MemberConfig` or their fields.
        config: A configuration file, as `EnsembleLLM.save_config` writes it.
        main_model: Index of the member whose vocabulary tokens are chosen from; with ``members`` only.
            `deepen_llm.EnsembleSettings` describes this and the other settings further.
        weights: Aggregation weights, one per member; or weights that follow the input: ``prompt``, ``entropy``,
            ``track``, or fields. With ``members`` only.
        fusion: A fusion method, its name, or its fields; with ``members`` only.
        gate: Where to fuse: ``always``, ``unsure``, ``boundary``, ``safe``, or fields of `Gate`; with ``members``
            only.
        eos_policy: Which distribution may choose the end-of-text token: ``fused`` or ``main`` (the main model's); with
            ``members`` only.
        on_member_failure: What happens where a member fails: ``raise``, or ``degrade`` to go on without it; with
            ``members`` only.
        batch_size: The most texts decoded together; with ``members`` only.
        max_waiting: The most texts that wait beside these; with ``members`` only.
        draft_tokens: The most tokens that are drafted ahead, for the members to read at once; 0 for none. With
            ``members`` only.
        draft_model: A small model of the main model's vocabulary that drafts in its place: a folder, a hub id, a
            `MemberConfig` or its fields; with ``members`` only.
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
            self.messages_to_prompt = RenderPrompt(self._source)
            """Renders messages with the main model's chat template."""

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Continue a prompt.

        Args:
            prompt: The prompt; it is continued as it is, unless ``completion_to_prompt`` changes it.
            formatted: Whether ``completion_to_prompt`` was applied already.
            **kwargs: Fields of `deepen_llm.GenerationOptions`.

        Raises:
            PromptError: The prompt is no string, or empty.
        """
        written, ensemble = self._prompt(prompt, formatted), self.load()
        return completion_response(ensemble, ensemble.generate(written, **self._completing(kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """`complete`, piece by piece."""
        written, ensemble = self._prompt(prompt, formatted), self.load()
        return stream_responses(ensemble.stream(written, **self._completing(kwargs)), PartialCompletion(ensemble))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The asynchronous `complete`."""
        written, ensemble = self._prompt(prompt, formatted), await self._source.aload()
        return completion_response(ensemble, await ensemble.agenerate(written, **self._completing(kwargs)))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The asynchronous `stream_complete`."""
        written, ensemble = self._prompt(prompt, formatted), await self._source.aload()
        return astream_responses(ensemble.astream(written, **self._completing(kwargs)), PartialCompletion(ensemble))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation, through each member's own chat template.

        Args:
            messages: The conversation.
            **kwargs: Fields of `deepen_llm.ChatOptions`: those of `complete`, and ``tools``, ``tool_choice``,
                ``parallel_tool_calls``, ``continue_final_message``.
        """
        ensemble = self.load()
        return chat_response(ensemble, ensemble.chat(conversation(messages), **self._chatting(kwargs)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """`chat`, piece by piece."""
        ensemble = self.load()
        return stream_responses(
            ensemble.stream_chat(conversation(messages), **self._chatting(kwargs)), PartialChat(ensemble)
        )

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The asynchronous `chat`."""
        ensemble = await self._source.aload()
        return chat_response(ensemble, await ensemble.achat(conversation(messages), **self._chatting(kwargs)))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The asynchronous `stream_chat`."""
        ensemble = await self._source.aload()
        return astream_responses(
            ensemble.astream_chat(conversation(messages), **self._chatting(kwargs)), PartialChat(ensemble)
        )

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls of a response; of an incomplete response, the part that is written.

        Args:
            response: The response.
            error_on_no_tool_call: Raise an error where there is no call.
            **kwargs: Ignored.

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
            ConfigError: An object is no tool, or a tool's schema cannot be enforced.
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
            "messages": with_message(user_msg, chat_history),
            "tools": [definition(tool) for tool in tools],
            "tool_choice": tool_choice or ("required" if tool_required else "auto"),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _prompt(self, prompt: str, formatted: bool) -> str:
        if not isinstance(prompt, str):
            raise PromptError(
                f"expected a prompt of type str, got {type(prompt).__name__}", hint="give one string per call"
            )
        return prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)


class RenderPrompt:
    """Renders a conversation with the main model's chat template, up to the beginning of the next answer.

    It holds no weights, so that a `DeepenLLM` can be printed, copied and pickled.
    """

    def __init__(self, source: LazyEnsemble) -> None:
        self._source = source

    def __call__(self, messages: Sequence[ChatMessage]) -> str:
        """Render the conversation; loads the weights if they are not in memory."""
        return self._source.load().render(conversation(messages))
