"""An ensemble as LangChain's chat model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

from deepen_llm import ChatOptions, EnsembleLLM, GenerationOptions, Output
from deepen_llm.errors import LoadError
from langchain_deepen.base import DeepenModel
from langchain_deepen.errors import as_langchain
from langchain_deepen.messages import conversation
from langchain_deepen.outputs import Chunks, chat_result
from langchain_deepen.structured import Structured, Way
from langchain_deepen.tools import definitions


class ChatDeepen(DeepenModel, BaseChatModel):
    """Several local language models with different vocabularies that answer a conversation as one.

    See `EnsembleModel` for the fields.

    Attributes:
        streaming: Let `invoke` decode piece by piece too, so that callbacks get every piece.

    Example:
        >>> from deepen_llm import specialists
        >>> from langchain_deepen import ChatDeepen
        >>> chat = ChatDeepen(members=specialists.paths())
        >>> chat.invoke("What is the capital of France?").text
        ' Paris'
    """

    streaming: bool = Field(default=False, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "deepen-chat"

    @staticmethod
    def _ls_type() -> Any:
        return "chat"

    @staticmethod
    def _kind() -> type[GenerationOptions]:
        return ChatOptions

    @staticmethod
    def _ask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        answers: Sequence[Output] = ensemble.chat(items, **given)
        return answers

    @staticmethod
    async def _aask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        answers: Sequence[Output] = await ensemble.achat(items, **given)
        return answers

    def _resolve_model_profile(self) -> ModelProfile | None:
        profile = ModelProfile(
            name=self.model_name,
            open_weights=True,
            text_inputs=True,
            image_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            pdf_inputs=False,
            text_outputs=True,
            image_outputs=False,
            audio_outputs=False,
            video_outputs=False,
            tool_calling=True,
            tool_choice=True,
            structured_output=True,
            temperature=True,
        )
        try:
            window = self._source.window(local_files_only=True)
        except LoadError:  # a member is not on this machine yet
            window = None
        return profile if window is None else {**profile, "max_input_tokens": window}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The cache key: everything that the answer depends on beside the messages."""
        return json.dumps([self._llm_type, self._identity(self._options(stop, kwargs))], sort_keys=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(stop, kwargs)
        (output,) = self._answers([conversation(messages)], options)
        return chat_result(self._source.chosen(options.get("model")), output)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(stop, kwargs)
        (output,) = await self._aanswers([conversation(messages)], options)
        return chat_result(self._source.chosen(options.get("model")), output)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options, chunks = self._options(stop, kwargs), Chunks()
        model = options.pop("model", None)
        ensemble = self._source.load(model)
        with as_langchain(), closing(ensemble.stream_chat(conversation(messages), **options)) as pieces:
            for piece in pieces:
                yield chunks.piece(piece)
        if pieces.output is not None:
            yield chunks.last(self._source.chosen(model), pieces.output)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        options, chunks = self._options(stop, kwargs), Chunks()
        model = options.pop("model", None)
        ensemble = await self._source.aload(model)
        with as_langchain():
            async with aclosing(ensemble.astream_chat(conversation(messages), **options)) as pieces:
                async for piece in pieces:
                    yield chunks.piece(piece)
        if pieces.output is not None:
            yield chunks.last(self._source.chosen(model), pieces.output)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call tools; its calls are valid by their schemas.

        Args:
            tools: Tools, functions, pydantic models or mappings in the forms of the providers' APIs; duplicates are
                removed.
            tool_choice: None, False or ``auto`` (the model decides), ``none``, ``any``, ``required`` or True, a tool's
                name, or a mapping in the form of a provider's API.
            strict: Accepted for compatibility, without effect: arguments are always valid by their schema.
            parallel_tool_calls: Whether an answer may hold several calls.
            **kwargs: Further options of every call, such as ``response_format``.

        Raises:
            ConfigError: An object is no tool, a tool's schema cannot be enforced, two different tools have one name, or
                the choice names no tool.
        """
        choice = ("required" if tool_choice else "auto") if isinstance(tool_choice, bool | None) else tool_choice
        parallel = True if parallel_tool_calls is None else parallel_tool_calls
        call_options = {"tools": definitions(tools), "tool_choice": choice, "parallel_tool_calls": parallel}
        _ = ChatOptions(**call_options).toolbox  # raises the ConfigError now, not when the model is called
        return self.bind(**call_options, **kwargs)

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Way | None = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Let every answer have a structure; answers are valid by its schema.

        Args:
            schema: A type that pydantic knows, such as a model, an ``Enum``, ``Cat | Dog`` or ``list[int]``; a function
                or a tool, for its arguments; or a JSON schema. Not needed with ``json_mode``.
            method: ``json_schema`` and ``function_calling`` enforce the schema, ``json_mode`` enforces JSON only; None
                for the default.
            include_raw: Return the message too, and the parser's error instead of raising it.
            strict: See `bind_tools`.
            **kwargs: Further options of every call.

        Raises:
            ConfigError: The method is unknown, or the schema cannot be enforced.
        """
        return Structured(schema, method or "json_schema", strict).over(self, include_raw, kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """The text's token ids in the main model's vocabulary."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return self._source.load(self.model).token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The number of tokens of a conversation, or of a part of one, in the main model's template, with its tools."""
        ensemble, variables = self._source.load(self.model), self.chat_template_kwargs or {}
        given = {"chat_template_kwargs": variables} if variables else {}
        return ensemble.count_tokens(conversation(messages), tools=definitions(tools or ()), **given)
