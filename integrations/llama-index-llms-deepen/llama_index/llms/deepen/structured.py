"""Structured prediction; the schema is enforced while the answer is decoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.bridge.pydantic import BaseModel, ValidationError
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index.llms.deepen.settings import SettingsMixin

from deepen_llm import ResponseFormat
from deepen_llm.errors import ConfigError

_OF_TOOLS = ("tool_choice", "tool_required", "allow_parallel_tool_calls")
"""Arguments that LlamaIndex adds for models that write objects as tool calls."""
_Response = ChatResponse | CompletionResponse
dispatcher = instrument.get_dispatcher(__name__)


class StructuredPrediction(SettingsMixin):
    """Structured prediction with ``response_format``, unless ``pydantic_program_mode`` is not the default."""

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> StructuredLLM:
        """A model whose every answer is an object of the given class.

        Args:
            output_cls: The class.
            **kwargs: Passed on to LlamaIndex.

        Raises:
            ConfigError: It is no pydantic model, or its schema cannot be enforced.
        """
        if self._guides(output_cls):
            ResponseFormat.of(output_cls)
        return super().as_structured_llm(output_cls, **kwargs)

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """An object of the given class.

        Args:
            output_cls: The class.
            prompt: The prompt's template.
            llm_kwargs: Options of the call.
            **prompt_args: The template's variables.

        Raises:
            ConfigError: It is no pydantic model, or its schema cannot be enforced.
            StructureError: A validator of the class rejects the answer.
        """
        if not self._guides(output_cls):
            value: Model = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return value
        _announce(output_cls, prompt, prompt_args)
        return _parsed(output_cls, self._constrained("", output_cls, prompt, llm_kwargs, prompt_args))

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """See `structured_predict`."""
        if not self._guides(output_cls):
            value: Model = await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return value
        _announce(output_cls, prompt, prompt_args)
        return _parsed(output_cls, await self._constrained("a", output_cls, prompt, llm_kwargs, prompt_args))

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if not self._guides(output_cls):
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        stream = self._constrained("stream_", output_cls, prompt, llm_kwargs, prompt_args)
        return (_so_far(output_cls, response) for response in stream)

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if not self._guides(output_cls):
            return await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        stream = await self._constrained("astream_", output_cls, prompt, llm_kwargs, prompt_args)
        return (_so_far(output_cls, response) async for response in stream)

    def _constrained(
        self,
        prefix: str,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> Any:
        """Call the chat or completion endpoint with this prefix, with the class as ``response_format``."""
        kept = {name: value for name, value in (llm_kwargs or {}).items() if name not in _OF_TOOLS}
        options = {**kept, "response_format": output_cls}
        if self.is_chat_model:
            return getattr(self, f"{prefix}chat")(self._get_messages(prompt, **prompt_args), **options)
        return getattr(self, f"{prefix}complete")(self._get_prompt(prompt, **prompt_args), formatted=True, **options)

    def _guides(self, output_cls: Any) -> bool:
        """Whether decoding enforces the class; raises an error where it is no pydantic model."""
        if not (isinstance(output_cls, type) and issubclass(output_cls, BaseModel)):
            raise ConfigError(
                f"output_cls={output_cls!r:.80} is no pydantic model",
                hint="give a subclass of pydantic.BaseModel; chat and complete take other types as response_format",
            )
        return self.pydantic_program_mode == PydanticProgramMode.DEFAULT


def _announce(output_cls: type[Model], prompt: PromptTemplate, prompt_args: dict[str, Any]) -> None:
    dispatcher.event(LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args))


def _parsed(output_cls: type[Model], response: _Response) -> Model:
    value = _read(output_cls, _text(response))
    dispatcher.event(LLMStructuredPredictEndEvent(output=value))
    return value


def _text(response: _Response) -> str:
    return response.text if isinstance(response, CompletionResponse) else response.message.content or ""


def _read(output_cls: type[Model], text: str) -> Model:
    value: Model = ResponseFormat({}, output_cls).read(text)
    return value


def _so_far(output_cls: type[Model], response: _Response) -> Model | FlexibleModel:
    """The object of a complete answer, or a partial object of an incomplete one."""
    text = _text(response)
    if response.raw is not None:  # the last response of a stream
        return _read(output_cls, text)
    partial = create_flexible_model(output_cls)
    try:
        return partial.model_validate(parse_partial_json(text))
    except (ValidationError, ValueError):
        return partial()
