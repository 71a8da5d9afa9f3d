"""The base class of both LangChain models: options, identity, calls of `EnsembleLLM`, batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from langchain_core.language_models.base import LangSmithParams
from langchain_core.runnables.config import get_config_list

from deepen_llm import EnsembleLLM, GenerationOptions, Output
from deepen_llm.errors import ConfigError, DeepenError
from langchain_deepen.batching import BatchBarrier, Call, Results, arun_batch, current_slot, run_batch
from langchain_deepen.errors import as_langchain
from langchain_deepen.fields import EnsembleModel
from langchain_deepen.options import canonical, in_force, of_call

Answer = Output | DeepenError
_LARGEST_BATCH = 1024  # every input of a decoded batch waits in a thread of its own


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
    def _ask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Answer]:
        """Call `EnsembleLLM` with several items."""

    @staticmethod
    @abstractmethod
    async def _aask(ensemble: EnsembleLLM, items: Sequence[Any], **given: Any) -> Sequence[Answer]:
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

    def _run(self, options: Mapping[str, Any], keep_errors: bool, items: Sequence[Any]) -> Sequence[Answer]:
        call_options = dict(options)
        ensemble = self._source.load(call_options.pop("model", None))
        return self._ask(ensemble, items, return_exceptions=keep_errors, **call_options)

    async def _arun(self, options: Mapping[str, Any], keep_errors: bool, items: Sequence[Any]) -> Sequence[Answer]:
        call_options = dict(options)
        ensemble = await self._source.aload(call_options.pop("model", None))
        return await self._aask(ensemble, items, return_exceptions=keep_errors, **call_options)

    def _answers(self, items: Sequence[Any], options: Mapping[str, Any]) -> list[Output]:
        """One output per item; inside a batch, the item is decoded together with the other calls' items."""
        slot = current_slot(self._source, options) if len(items) == 1 else None
        if slot is not None:
            return [slot.take(items[0]).result()]
        with as_langchain():
            return _outputs(self._run(options, False, items))

    async def _aanswers(self, items: Sequence[Any], options: Mapping[str, Any]) -> list[Output]:
        slot = current_slot(self._source, options) if len(items) == 1 else None
        if slot is not None:
            return [await slot.atake(items[0])]
        with as_langchain():
            return _outputs(await self._arun(options, False, items))

    def batch(self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any) -> Any:
        """Invoke on every input; up to ``max_concurrency`` inputs, else up to 1024, are decoded as one batch."""
        results = self.batch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return [result for _, result in results]

    async def abatch(self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any) -> Any:
        """The asynchronous `batch`."""
        results = self.abatch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return [result async for _, result in results]

    def batch_as_completed(
        self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> Iterator[Any]:
        """Yield indices and results; the results of one decoded batch are yielded one after another."""
        options, invoke = self._shared(kwargs), partial(cast("Any", self).invoke, **kwargs)
        run = partial(self._run, options, return_exceptions)
        for first, calls in _portions(inputs, config):
            results = run_batch(BatchBarrier(len(calls), self._source, options), calls, invoke, run)
            yield from enumerate(_checked(results, return_exceptions), start=first)

    async def abatch_as_completed(
        self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The asynchronous `batch_as_completed`."""
        options, invoke = self._shared(kwargs), partial(cast("Any", self).ainvoke, **kwargs)
        run = partial(self._arun, options, return_exceptions)
        for first, calls in _portions(inputs, config):
            results = await arun_batch(BatchBarrier(len(calls), self._source, options), calls, invoke, run)
            for numbered in enumerate(_checked(results, return_exceptions), start=first):
                yield numbered

    def _shared(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The options that all calls of a batch share."""
        given = dict(kwargs)
        try:
            return self._options(given.pop("stop", None), given)
        except ConfigError:  # every call raises this error itself, so that `return_exceptions` can keep it
            return {}


def _outputs(answers: Sequence[Answer]) -> list[Output]:
    """The outputs of a call that raises its errors."""
    return [answer for answer in answers if isinstance(answer, Output)]


def _portions(inputs: Sequence[Any], config: Any) -> Iterator[tuple[int, list[Call]]]:
    """Yield the first index and the calls of each batch to decode, of at most ``max_concurrency`` inputs."""
    if not inputs:
        return
    calls: list[Call] = list(zip(inputs, get_config_list(config, len(inputs)), strict=True))
    size = calls[0][1].get("max_concurrency") or _LARGEST_BATCH
    for first in range(0, len(calls), size):
        yield first, calls[first : first + size]


def _checked(results: Results, keep_errors: bool) -> Results:
    for result in results:
        if isinstance(result, BaseException) and not (keep_errors and isinstance(result, Exception)):
            raise result
    return results
