"""Settings of the LlamaIndex model, their serialized forms, and its metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.llms.deepen.responses import model_name
from typing_extensions import Self

from deepen_llm import (
    AggregationWeights,
    ChatOptions,
    EnsembleLLM,
    EnsembleSettings,
    FusionMethod,
    Gate,
    GenerationOptions,
    LazyEnsemble,
    MemberConfig,
)
from deepen_llm.errors import ConfigError, refuse_unknown

SETTINGS = (*(name for name in EnsembleSettings.model_fields if name != "generation"), "draft_model")
_FIXED = ("ensemble", "members", "config", *SETTINGS)
SAMPLING = tuple(name for name in GenerationOptions.model_fields if name not in {"trace", "response_format"})


class SettingsMixin(FunctionCallingLLM):
    """Fields of `DeepenLLM`: the ensemble's settings and generation options."""

    members: list[str | dict[str, Any]] | None = Field(
        default=None, description="Folders, hub ids, or fields of MemberConfig."
    )
    config: str | None = Field(default=None, description="The ensemble's YAML configuration file.")

    main_model: int | None = Field(default=None, description="Index of the member whose vocabulary tokens come from.")
    weights: list[float] | str | dict[str, Any] | None = Field(
        default=None,
        description="Aggregation weights, one per member; or 'prompt', 'entropy' or 'track', to follow the input.",
    )
    fusion: str | dict[str, Any] | None = Field(default=None, description="The fusion method.")
    gate: str | dict[str, Any] | None = Field(
        default=None, description="Where to fuse: 'always', 'unsure', 'boundary' or 'safe'."
    )
    eos_policy: str | None = Field(
        default=None, description="Which distribution may choose the end-of-text token: 'fused' or 'main'."
    )
    on_member_failure: str | None = Field(
        default=None, description="Where a member fails: 'raise' its error, or 'degrade' to go on without it."
    )
    batch_size: int | None = Field(default=None, description="The most texts decoded together.")
    max_waiting: int | None = Field(default=None, description="The most texts that wait beside these.")
    draft_tokens: int | None = Field(default=None, description="The most tokens that are drafted ahead; 0 for none.")
    draft_model: str | dict[str, Any] | None = Field(
        default=None, description="A small model of the main model's vocabulary that drafts: see members."
    )

    max_new_tokens: int | None = Field(default=None, description="The most tokens of the main model to commit.")
    temperature: float | None = Field(default=None, description="0 is greedy; else the fused distribution is sampled.")
    top_p: float | None = Field(default=None, description="Sample from the likeliest tokens of this probability.")
    top_k: int | None = Field(default=None, description="Sample from this many likeliest tokens; 0 is no bound.")
    min_p: float | None = Field(default=None, description="Sample from tokens with this share of the likeliest one's.")
    seed: int | None = Field(default=None, description="Makes sampling repeat.")
    stop: list[str] | None = Field(default=None, description="Strings before which the text ends.")
    stop_token_ids: list[int] | None = Field(
        default=None, description="Tokens of the main model, by their ids, before which the text ends."
    )
    repetition_penalty: float | None = Field(default=None, description="Above 1, tokens seen become less likely.")
    token_healing: bool | None = Field(
        default=None, description="Continue a prompt that ends inside a word as its whole word."
    )
    n: int | None = Field(default=None, description="Samples per prompt; all of them are in a response's raw.")
    logprobs: int | None = Field(default=None, description="Report tokens' log-probabilities, and as many likely ones.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="Variables for the members' chat templates, such as enable_thinking."
    )

    is_chat_model: bool = Field(default=True, description="False for members without chat templates.")

    _source: LazyEnsemble = PrivateAttr()

    def __init__(self, *, ensemble: EnsembleLLM | None = None, **given: Any) -> None:
        refuse_unknown(self.class_name(), given, ["ensemble", *type(self).model_fields])
        given = {name: _serializable(name, value) for name, value in given.items()}
        settings: Any = {name: given[name] for name in SETTINGS if given.get(name) is not None}
        source = _source(ensemble, given.get("members"), given.get("config"), settings)
        GenerationOptions(**{name: given[name] for name in SAMPLING if given.get(name) is not None})
        super().__init__(**given)
        self._source = source

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; the fields that define the ensemble cannot be changed."""
        _refuse_change([name])
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that shares the weights.

        Args:
            update: Fields with new values; those that define the ensemble cannot be changed.
            deep: Whether everything but the weights is copied.

        Raises:
            ConfigError: A field to change defines the ensemble.
        """
        _refuse_change(update or ())
        return super().model_copy(update=update, deep=deep)

    def __getstate__(self) -> dict[Any, Any]:
        """The state without weights, callback manager and rate limiter."""
        state = BaseModel.__getstate__(self)  # LlamaIndex's own takes attributes away from this instance
        here = {"callback_manager": CallbackManager([]), "rate_limiter": None}
        return {**state, "__dict__": {**state["__dict__"], **here}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """See `__getstate__`."""
        BaseModel.__setstate__(self, state)  # LlamaIndex's own would make a second source

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The fields that `from_dict` reads; for a loaded ensemble, the fields of its configuration, if it has one."""
        written: dict[str, Any] = super().to_dict(**kwargs)
        if self.members is None and self.config is None:
            written |= _described(self._source) | self._sampling()
        return written

    @classmethod
    def class_name(cls) -> str:
        """The name in serialized forms."""
        return "DeepenLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Context window, output length and abilities, read without loading weights.

        Raises:
            LoadError: A member's configuration cannot be read.
        """
        max_new_tokens = self.max_new_tokens
        return LLMMetadata(
            context_window=self._source.window() or DEFAULT_CONTEXT_WINDOW,
            num_output=self._source.generation.max_new_tokens if max_new_tokens is None else max_new_tokens,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_chat_model,
            model_name=model_name(self._source.names),
        )

    def to_payload(self) -> dict[str, Any]:
        """The fields of instrumentation events; nothing is read from a disk or a hub for them."""
        return {"class_name": self.class_name(), "model_name": model_name(self._source.names), **self._sampling()}

    def load(self) -> EnsembleLLM:
        """Return the ensemble; load its weights if they are not in memory.

        Raises:
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.
        """
        return self._source.load()

    def _sampling(self) -> dict[str, Any]:
        """The options set on this instance."""
        return {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}

    def _completing(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of one completion: the instance's, and over them the call's."""
        defaults = {name: value for name, value in self._sampling().items() if name != "chat_template_kwargs"}
        return GenerationOptions.merged(defaults, given)

    def _chatting(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of one chat: the instance's, and over them the call's."""
        return ChatOptions.merged(self._sampling(), given)


def _source(ensemble: Any, members: Any, config: Any, settings: dict[str, Any]) -> LazyEnsemble:
    if ensemble is None and members is None and config is None:
        raise ConfigError(
            "DeepenLLM: expected one of ensemble, members and config, got none",
            hint="give exactly one of ensemble=EnsembleLLM(...), members=[...] and config='ensemble.yaml'; a "
            "serialized model whose members were in memory only needs from_json(..., ensemble=EnsembleLLM(...))",
        )
    return LazyEnsemble.of(ensemble=ensemble, members=members, config=config, **settings)


def _refuse_change(names: Iterable[str]) -> None:
    fixed = next((name for name in names if name in _FIXED), None)
    if fixed is not None:
        raise ConfigError(f"{fixed} is fixed once a DeepenLLM is made", hint="make a new DeepenLLM")


def _described(source: LazyEnsemble) -> dict[str, Any]:
    """The fields that describe a loaded ensemble; empty where fields cannot describe all of it."""
    described = dict(source.described or {})
    generation = described.pop("generation", {})
    return described | generation if generation.keys() <= set(SAMPLING) else {}


def _serializable(name: str, value: Any) -> Any:
    """A setting in a form that can be serialized."""
    if name == "members" and isinstance(value, Sequence):
        return [_member(one) for one in ([value] if isinstance(value, str) else value)]
    if name == "members" and isinstance(value, Path | Mapping | MemberConfig):
        return [_member(value)]
    if name == "draft_model":
        return _member(value)
    if isinstance(value, FusionMethod | Gate):
        _refuse_own(name, value)
    if isinstance(value, FusionMethod):
        return {"method": value.method, **value.model_dump(mode="json", exclude_defaults=True)}
    if isinstance(value, AggregationWeights | Gate) and isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if name in {"stop", "stop_token_ids"} and isinstance(value, str | int):
        return [value]
    return str(value) if isinstance(value, Path) else value


def _refuse_own(name: str, value: FusionMethod | Gate) -> None:
    """Refuse an instance of the caller's own class, which cannot be serialized."""
    if own := EnsembleSettings(**{name: value}).own_parts:
        raise ConfigError(
            f"{name}= of a DeepenLLM holds no {own.removeprefix('a ')}",
            hint="give ensemble=EnsembleLLM(...) that has it",
        )


def _member(given: Any) -> Any:
    if isinstance(given, MemberConfig):
        return given.model_dump(mode="json", exclude_defaults=True)
    return str(given) if isinstance(given, Path) else given
