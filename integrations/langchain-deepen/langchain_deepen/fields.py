"""What a user may set on either model, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseLanguageModel
from langchain_core.load.serializable import Serializable, SerializedConstructor, SerializedNotImplemented
from pydantic import ConfigDict, Field, SkipValidation, ValidationError, model_validator
from typing_extensions import Self

from deepen_llm import (
    AnyFusion,
    AnyGate,
    AnySource,
    AnyWeights,
    EnsembleLLM,
    GenerationOptions,
    LazyEnsemble,
)
from deepen_llm.errors import ConfigError, refuse_unknown
from langchain_deepen.options import OPTIONS, from_user
from langchain_deepen.version import __version__

_SETTINGS = ("main_model", "weights", "fusion", "gate", "eos_policy", "batch_size", "draft_tokens", "draft_model")
_PLACED = ("dtype", "device", "quantization", "compile")


class EnsembleModel(Serializable):
    """The fields of both models.

    Exactly one of ``ensemble``, ``members`` and ``config`` says which models answer. Options that are None leave it to
    the ensemble's own generation options; every call may set them otherwise.

    Attributes:
        ensemble: A live ensemble.
        members: Local folders, hub ids, `MemberConfig` or mappings with its fields. Their weights are loaded on first
            use, once for all models with equal settings.
        config: A configuration file, as `EnsembleLLM.save_config` writes it.
        main_model: With ``members``, as all settings up to ``draft_model``: index of the member whose vocabulary tokens
            are chosen from. `deepen_llm.EnsembleSettings` describes the settings further.
        weights: Aggregation weights, or weights that follow the input.
        fusion: A fusion method, its name, or a mapping with its ``method`` and options.
        gate: Where to fuse; a gate, its name, or a mapping.
        eos_policy: Which distribution may end a text, ``fused`` or ``main``.
        batch_size: The most texts decoded together.
        draft_tokens: The most tokens that are drafted ahead; 0 for none.
        draft_model: A small model of the main model's vocabulary that drafts in its place, in a member's form.
        dtype: ``auto`` or a torch dtype. It, ``device``, ``quantization`` and ``compile`` hold for ``members`` given by
            path alone; `deepen_llm.MemberConfig` describes them further.
        device: ``auto`` or a torch device.
        quantization: Quantize linear layers while they are loaded.
        compile: Compile one-token steps.
        model: Names of the members that answer, joined by ``+``; None for all.
        max_new_tokens: The most tokens to commit; LangChain's ``max_tokens`` is the same. It and all that follow are
            generation options, which `deepen_llm.GenerationOptions` describes further.
        temperature: 0 is greedy.
        top_p: Nucleus.
        top_k: Most tokens to sample from.
        min_p: Least share of the likeliest token's probability.
        seed: Makes sampling repeat.
        stop: Strings before which the text ends; LangChain's ``stop_sequences`` is the same.
        stop_token_ids: Tokens of the main model, by their ids, before which the text ends.
        repetition_penalty: Above 1, tokens of prompt and answer become less likely.
        token_healing: Continue a prompt that ends inside a word as its whole word.
        n: Answers per prompt.
        logprobs: Report each token's log-probability and this many likeliest tokens beside it.
        trace: Report how each token came about.
        chat_template_kwargs: Variables for the members' chat templates.
        response_format: What every answer must be.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ensemble: EnsembleLLM | None = Field(default=None, exclude=True)
    members: SkipValidation[AnySource | Sequence[AnySource] | None] = None
    config: SkipValidation[str | Path | None] = None
    main_model: int | None = None
    weights: SkipValidation[AnyWeights | None] = None
    fusion: SkipValidation[AnyFusion | None] = None
    gate: SkipValidation[AnyGate | None] = None
    eos_policy: str | None = None
    batch_size: int | None = None
    draft_tokens: int | None = None
    draft_model: SkipValidation[AnySource | None] = None
    dtype: Any = Field(default=None, exclude=True)
    device: Any = Field(default=None, exclude=True)
    quantization: Any = Field(default=None, exclude=True)
    compile: bool | None = Field(default=None, exclude=True)
    model: str | None = None
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    repetition_penalty: float | None = None
    token_healing: bool | None = None
    n: int | None = None
    logprobs: int | None = None
    trace: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: Any = None

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            own = (detail.get("ctx", {}).get("error") for detail in error.errors())
            found = next((one for one in own if isinstance(one, ConfigError)), None)
            raise found or ConfigError(str(error), hint=f"see {type(self).__name__} for what it takes") from None

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):  # a model that is a field of another
            return given
        made = from_user(given)
        refuse_unknown(cls.__name__, made, dict.fromkeys((*EnsembleModel.model_fields, *cls.model_fields)))
        GenerationOptions(**{name: made[name] for name in OPTIONS if made.get(name) is not None})
        return made

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        self._source.chosen(self.model)
        return self

    @model_validator(mode="after")
    def _tell_deepen_version(self) -> Self:
        cast("BaseLanguageModel[Any]", self)._add_version("langchain-deepen", __version__)  # noqa: SLF001 - LangChain's
        return self

    @cached_property
    def _source(self) -> LazyEnsemble:
        options: Any = {name: value for name in _SETTINGS + _PLACED if (value := getattr(self, name)) is not None}
        return LazyEnsemble.of(ensemble=self.ensemble, members=self.members, config=self.config, **options)

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: the configuration, and no weights.

        Raises:
            ConfigError: No configuration can name the ensemble.
        """
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "ensemble": None}}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """It is; a live ensemble whose members no configuration can name is written down as not implemented."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Constructor arguments, as JSON: the ensemble's, and the options."""
        described = dict(self._source.described or {})
        if not described:
            return {}
        generation = described.pop("generation", {})
        set_here = GenerationOptions(**self._set_here).model_dump(mode="json", exclude_unset=True)
        return {**described, **generation, **set_here, "config": None}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """See `Serializable`; weights are never written, and there are no secrets."""
        return self.to_json_not_implemented() if self._source.described is None else super().to_json()

    @property
    def _set_here(self) -> dict[str, Any]:
        """The generation options that this instance sets."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}
