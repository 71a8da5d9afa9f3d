"""The base class of both LangChain models: options, identity, calls of `EnsembleLLM`, batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.language_models.base import LangSmithParams
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list

from deepen_llm import EnsembleLLM, GenerationOptions, Output
from langchain_deepen.errors import as_langchain
from langchain_deepen.fields import EnsembleModel
from langchain_deepen.options import canonical, in_force, of_call

_RUNNABLE: Any = Runnable  # whose batches invoke; those of `BaseLLM` fail together
_MOST_THREADS = 1024  # of a batch: each waits for an answer


class DeepenModel(EnsembleModel):
    """An ensemble as a LangChain model; see `EnsembleModel` for its fields."""

    @property
    def model_name(self) -> str:
        """The names of the members that answer."""
        return self.model or "+".join(self._source.names)

    @staticmethod
    @abstractmethod
    def _ls_type() -> Any:
        """LangSmith's name for this type of model."""

    @staticmethod
    @abstractmethod
    def _kind() -> type[GenerationOptions]:
        """The class of options that `_ask` takes."""

    @staticmethod
    @abstractmethod
    def _ask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        """Call `EnsembleLLM` with several items."""

    @staticmethod
    @abstractmethod
    async def _aask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Output]:
        """The asynchronous `_ask`."""

    def _options(self, stop: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of one call: the instance's, overridden by the call's."""
        call = of_call(stop, given)
        model = call.pop("model", self.model)
        options = self._kind().merged(self._set_here, call)
        return options if model is None else {**options, "model": model}

    def _identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that the answers depend on beside the input, as JSON."""
        return {**self._source.identity, "options": canonical(self._kind(), self._source.generation, options)}

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name, **self._identity(self._options(None, {}))}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        options = in_force(self._kind(), self._source.generation, self._options(stop, kwargs))
        named = LangSmithParams(
            ls_provider="deepen",
            ls_model_type=self._ls_type(),
            ls_model_name=str(kwargs.get("model") or self.model_name),
            ls_temperature=options.temperature,
            ls_max_tokens=options.max_new_tokens,
        )
        if options.stop:
            named["ls_stop"] = list(options.stop)
        return named

    def _answers(self, items: Sequence[Any], options: Mapping[str, Any]) -> list[Output]:
        """One output per item."""
        call_options = dict(options)
        with as_langchain():
            ensemble = self._source.load(call_options.pop("model", None))
            return list(self._ask(ensemble, items, **call_options))

    async def _aanswers(self, items: Sequence[Any], options: Mapping[str, Any]) -> list[Output]:
        call_options = dict(options)
        with as_langchain():
            ensemble = await self._source.aload(call_options.pop("model", None))
            return list(await self._aask(ensemble, items, **call_options))

    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
        """Invoke on every input, each in a thread; they are decoded together, as are all calls of an ensemble.

        Up to ``max_concurrency`` inputs wait for an answer at a time, else up to 1024.
        """
        return _RUNNABLE.batch(self, inputs, _together(inputs, config), **kwargs)

    async def abatch(self, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
        """The asynchronous `batch`, without threads of its own."""
        return await _RUNNABLE.abatch(self, inputs, config, **kwargs)

    def batch_as_completed(self, inputs: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        """`batch`, whose results come as they end, with their indices."""
        results: Iterator[Any] = _RUNNABLE.batch_as_completed(self, inputs, _together(inputs, config), **kwargs)
        return results


def _together(inputs: Sequence[Any], config: Any) -> list[RunnableConfig]:
    """The configuration of each input, with a thread for each; by default there would be fewer."""
    most = min(len(inputs), _MOST_THREADS) or None
    configs = get_config_list(config, len(inputs)) if inputs else []
    return [{**one, "max_concurrency": one.get("max_concurrency") or most} for one in configs]
