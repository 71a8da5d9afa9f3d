"""The fields of both LangChain models, and their serialized form."""

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
    EnsembleSettings,
    GenerationOptions,
    LazyEnsemble,
)
from deepen_llm.errors import ConfigError, refuse_unknown
from langchain_deepen.options import OPTIONS, from_user
from langchain_deepen.version import __version__

_SETTINGS = (*(name for name in EnsembleSettings.model_fields if name != "generation"), "draft_model")
_PLACED = ("dtype", "device", "quantization", "compile")


class EnsembleModel(Serializable):
    """The fields of both models.

    Exactly one of ``ensemble``, ``members`` and ``config`` names the models. Where a generation option is None, the
    ensemble's generation options apply; every call can override it.

    Attributes:
        ensemble: A loaded ensemble.
        members: Local folders, hub ids, `MemberConfig` or mappings with its fields. Their weights are loaded on first
            use, once for all models with equal settings.
        config: A configuration file, as `EnsembleLLM.save_config` writes it.
        main_model: Index of the member whose vocabulary tokens are chosen from; with ``members`` only.
            `deepen_llm.EnsembleSettings` describes this and the other settings further.
        weights: Aggregation weights, or weights that follow the input; with ``members`` only.
        fusion: A fusion method, its name, or a mapping with its ``method`` and options; with ``members`` only.
        gate: Where to fuse: a gate, its name, or a mapping; with ``members`` only.
        eos_policy: Which distribution may choose the end-of-text token, ``fused`` or ``main``; with ``members`` only.
        on_member_failure: What happens where a member fails, ``raise`` or ``degrade``; with ``members`` only.
        batch_size: The most texts decoded together; with ``members`` only.
        max_waiting: The most texts that wait beside these; with ``members`` only.
        draft_tokens: The most tokens that are drafted ahead, 0 for none; with ``members`` only.
        draft_model: A small model of the main model's vocabulary that drafts in its place, given like a member; with
            ``members`` only.
        dtype: ``auto`` or a torch dtype, for members given by path only. `deepen_llm.MemberConfig` describes this and
            the other loading options further.
        device: ``auto`` or a torch device, for members given by path only.
        quantization: Quantize linear layers while they are loaded, for members given by path only.
        compile: Compile one-token steps, for members given by path only.
        model: Names of the members that answer, joined by ``+``; None for all.
        max_new_tokens: The most tokens to commit; also as LangChain's ``max_tokens``. `deepen_llm.GenerationOptions`
            describes this and the other generation options further.
        temperature: 0 is greedy.
        top_p: Sample from the likeliest tokens that hold this probability together.
        top_k: Sample from this many likeliest tokens.
        min_p: Sample from tokens with at least this share of the likeliest token's probability.
        seed: Seed of the random generator.
        stop: Strings before which the text ends; also as LangChain's ``stop_sequences``.
        stop_token_ids: Tokens of the main model, by their ids, before which the text ends.
        repetition_penalty: Above 1, tokens of prompt and answer become less likely.
        token_healing: Continue a prompt that ends inside a word as its whole word.
        n: Answers per prompt.
        logprobs: Report each token's log-probability and those of this many likeliest tokens.
        trace: Report the members' distributions behind each token.
        chat_template_kwargs: Variables for the members' chat templates.
        response_format: The structure of every answer.
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
    on_member_failure: str | None = None
    batch_size: int | None = None
    max_waiting: int | None = None
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
            causes = (detail.get("ctx", {}).get("error") for detail in error.errors())
            own = next((cause for cause in causes if isinstance(cause, ConfigError)), None)
            name = type(self).__name__
            raise own or ConfigError(
                f"{name}: {_in_one_line(error)}", hint=f"correct it; the documentation of {name} lists its fields"
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):  # a model that is a field of another model
            return given
        named = from_user(given)
        refuse_unknown(cls.__name__, named, dict.fromkeys((*EnsembleModel.model_fields, *cls.model_fields)))
        GenerationOptions(**{name: named[name] for name in OPTIONS if named.get(name) is not None})
        return named

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        self._source.chosen(self.model)
        return self

    @model_validator(mode="after")
    def _record_version(self) -> Self:
        cast("BaseLanguageModel[Any]", self)._add_version("langchain-deepen", __version__)  # noqa: SLF001 - LangChain's
        return self

    @cached_property
    def _source(self) -> LazyEnsemble:
        options: Any = {name: value for name in _SETTINGS + _PLACED if (value := getattr(self, name)) is not None}
        return LazyEnsemble.of(ensemble=self.ensemble, members=self.members, config=self.config, **options)

    def __getstate__(self) -> dict[Any, Any]:
        """The pickled state: the configuration, without weights.

        Raises:
            ConfigError: No configuration describes the ensemble.
        """
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "ensemble": None}}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True; a loaded ensemble that no configuration describes serializes as "not implemented"."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Constructor arguments as JSON: the ensemble's configuration and this instance's options."""
        described = dict(self._source.described or {})
        if not described:
            return {}
        generation = described.pop("generation", {})
        set_here = GenerationOptions(**self._set_here).model_dump(mode="json", exclude_unset=True)
        return {**described, **generation, **set_here, "config": None}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Serialize the model without weights, or as "not implemented" (see `is_lc_serializable`)."""
        return self.to_json_not_implemented() if self._source.described is None else super().to_json()

    @property
    def _set_here(self) -> dict[str, Any]:
        """The generation options that this instance sets."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}


def _in_one_line(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}={one['input']!r:.200}: {one['msg']}" for one in error.errors())
