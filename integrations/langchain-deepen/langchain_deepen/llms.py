"""An ensemble as LangChain's text completion model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import BaseMessage, get_buffer_string
from langchain_core.outputs import GenerationChunk, LLMResult
from typing_extensions import Self

from deepen_llm import EnsembleLLM, GenerationOptions, Output
from langchain_deepen.base import DeepenModel
from langchain_deepen.errors import as_langchain
from langchain_deepen.options import canonical
from langchain_deepen.outputs import info, llm_result, usage


class DeepenLLM(DeepenModel, BaseLLM):
    """Several local language models with different vocabularies that continue a text as one.

    See `EnsembleModel` for the fields.

    Example:
        >>> from deepen_llm import specialists
        >>> from langchain_deepen import DeepenLLM
        >>> llm = DeepenLLM(members=specialists.paths(), max_new_tokens=8, stop=["."])
        >>> llm.invoke("The capital of France is")
        ' Paris'
    """

    @property
    def _llm_type(self) -> str:
        return "deepen"

    @staticmethod
    def _ls_type() -> Any:
        return "llm"

    @staticmethod
    def _kind() -> type[GenerationOptions]:
        return GenerationOptions

    @staticmethod
    def _ask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        answers: Sequence[Output] = ensemble.generate(items, **given)
        return answers

    @staticmethod
    async def _aask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        answers: Sequence[Output] = await ensemble.agenerate(items, **given)
        return answers

    def generate(self, prompts: list[str], stop: list[str] | None = None, *args: Any, **kwargs: Any) -> LLMResult:
        """See `BaseLLM`; its cache and callbacks read the instance's options only, so a copy gets those of the call."""
        passed, options = self._split(kwargs)
        model = self._with(stop, options)
        return super(DeepenLLM, model).generate(prompts, model.stop or None, *args, **passed)

    async def agenerate(
        self, prompts: list[str], stop: list[str] | None = None, *args: Any, **kwargs: Any
    ) -> LLMResult:
        """The asynchronous `generate`."""
        passed, options = self._split(kwargs)
        model = self._with(stop, options)
        return await super(DeepenLLM, model).agenerate(prompts, model.stop or None, *args, **passed)

    @staticmethod
    def _split(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split arguments into those of LangChain and generation options."""
        own = {"callbacks", "tags", "metadata", "run_name", "run_id"}
        return (
            {name: value for name, value in kwargs.items() if name in own},
            {name: value for name, value in kwargs.items() if name not in own},
        )

    def _with(self, stop: list[str] | None, given: dict[str, Any]) -> Self:
        """A copy with the options of a call, on the same ensemble."""
        options = self._options(stop, given)
        canonical(GenerationOptions, self._source.generation, options)
        copy = self.model_copy(update={"stop": None, **options})
        copy.__dict__.pop("_serialized", None)
        return copy

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        options = self._options(stop, kwargs)
        outputs = self._answers(prompts, options)
        return llm_result(self._source.chosen(options.get("model")), outputs)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        options = self._options(stop, kwargs)
        outputs = await self._aanswers(prompts, options)
        return llm_result(self._source.chosen(options.get("model")), outputs)

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        options = self._options(stop, kwargs)
        model = options.pop("model", None)
        ensemble = self._source.load(model)
        with as_langchain(), closing(ensemble.stream(prompt, **options)) as pieces:
            for piece in pieces:
                chunk = GenerationChunk(text=str(piece))
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        yield _last(self._source.chosen(model), pieces.output)

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        options = self._options(stop, kwargs)
        model = options.pop("model", None)
        ensemble = await self._source.aload(model)
        with as_langchain():
            async with aclosing(ensemble.astream(prompt, **options)) as pieces:
                async for piece in pieces:
                    chunk = GenerationChunk(text=str(piece))
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        yield _last(self._source.chosen(model), pieces.output)

    def get_token_ids(self, text: str) -> list[int]:
        """The text's token ids in the main model's vocabulary."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return self._source.load(self.model).token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The number of tokens of the messages, joined as this model reads them."""
        return self.get_num_tokens(get_buffer_string(messages))


def _last(members: Sequence[str], output: Output | None) -> GenerationChunk:
    """The last chunk, with the generation info."""
    fields = {**info(members, output.samples[0]), "token_usage": usage(output)} if output else {}
    return GenerationChunk(text="", generation_info=fields)
