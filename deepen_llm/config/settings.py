"""The settings with which the members of an ensemble decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
)
from typing_extensions import Self, TypedDict

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import (
    DEFAULT,
    DYNAMIC,
    METHODS,
    AggregationWeights,
    DynamicWeights,
    FixedWeights,
    FusionMethod,
    named_method,
    named_weights,
)
from deepen_llm.fusion.gate import Gate, named_gate
from deepen_llm.members.config import MemberConfig, Placement
from deepen_llm.options import Options

AnyFusion = str | Mapping[str, Any] | FusionMethod
"""A fusion method, its name, or a mapping with its ``method`` and options."""
AnyWeights = Sequence[float] | str | Mapping[str, Any] | AggregationWeights
"""A number for each member, or weights that follow the input: an object, its name, or a mapping with ``by``."""
AnyGate = str | Mapping[str, Any] | Gate
"""A gate, its name, or a mapping with ``when`` and options."""
AnySource = str | Path | Mapping[str, Any] | MemberConfig
"""Where a member comes from: a hub id or a local folder, `MemberConfig`, or its fields."""
_NUMBERS = TypeAdapter(tuple[float, ...], config=ConfigDict(allow_inf_nan=False))


class Settings(TypedDict, total=False):
    """The settings of an ensemble as keyword arguments; `EnsembleSettings` describes each."""

    main_model: int
    weights: AnyWeights | None
    fusion: AnyFusion
    gate: AnyGate
    eos_policy: str
    on_member_failure: str
    batch_size: int
    max_waiting: int | None
    draft_tokens: int
    generation: GenerationOptions | Mapping[str, Any] | None


class LoadingSettings(Settings, Placement, total=False):
    """`Settings`, and how members are loaded; `EnsembleConfig` and `MemberConfig` describe each."""

    draft_model: AnySource | None


class EnsembleSettings(Options):
    """Settings of an ensemble that do not name its members.

    Attributes:
        main_model: Index of the member whose vocabulary tokens are chosen from.
        weights: Aggregation weights, one per member, scaled to sum 1; None for equal ones (DEEPEN-Avg). Or weights that
            follow the input: `PromptWeights`, `EntropyWeights` or `TrackWeights`, their name (``prompt``, ``entropy``,
            ``track``), or a mapping with its name as ``by`` and options. ``track`` needs a fusion method that is a
            mixture (`FusionMethod.mixes`). Or `AggregationWeights` of your own, which no `EnsembleConfig` holds. A
            member of weight 0 takes no part, unless it is the main model.
        fusion: A fusion method, its name, or a mapping with its ``method`` and options.
        gate: Where to fuse: a `Gate`, its name (``always``, ``unsure``, ``boundary``, ``safe``), or a mapping with its
            name as ``when`` and options. Elsewhere tokens are chosen from the main model's distribution.
        eos_policy: Which distribution may choose the end-of-text token: the ``fused`` one, or the ``main`` model's,
            which ends the text where that token is its most likely one.
        on_member_failure: What happens to the answers that are decoded while a member other than the main model raises
            an error, or its logits are NaN: they end with that error (``raise``), or go on without the member
            (``degrade``), which the log and each answer's ``left_out`` say. Answers that come later begin once those
            have ended, and have the member again. Scores always end with the error, and so do prompts whose weights the
            member was to set.
        batch_size: The most texts decoded together; further ones wait.
        max_waiting: The most texts that wait beside these; None for any number. A call whose texts would be more ends
            in a `QueueFullError`.
        draft_tokens: The most tokens that are drafted ahead, for the members to read at once; 0 for none. The length
            adapts to what has been accepted, and no answer changes but for rounding.
        generation: Default generation options; a call's options override them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    main_model: int = 0
    weights: tuple[float, ...] | SerializeAsAny[DynamicWeights] | AggregationWeights | None = None
    fusion: SerializeAsAny[FusionMethod] = DEFAULT
    gate: Gate = Gate()
    eos_policy: Literal["fused", "main"] = "fused"
    on_member_failure: Literal["raise", "degrade"] = "raise"
    batch_size: int = Field(16, ge=1)
    max_waiting: int | None = Field(None, ge=0)
    draft_tokens: int = Field(0, ge=0, le=32)
    generation: GenerationOptions = GenerationOptions()

    @field_validator("weights", mode="wrap")
    @classmethod
    def _named_weights(
        cls, value: Any, _: ValidatorFunctionWrapHandler
    ) -> tuple[float, ...] | AggregationWeights | None:
        if isinstance(value, str | Mapping):
            return named_weights(value)
        if value is None or (isinstance(value, AggregationWeights) and type(value) is not FixedWeights):
            return value
        return _NUMBERS.validate_python(value.values if type(value) is FixedWeights else value)

    @field_serializer("weights", mode="wrap")
    def _own_by_class(self, value: Any, write: SerializerFunctionWrapHandler) -> Any:
        own = isinstance(value, AggregationWeights) and not isinstance(value, DynamicWeights)
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}"} if own else write(value)

    @field_validator("generation", mode="before")
    @classmethod
    def _default_generation(cls, value: Any) -> Any:
        return GenerationOptions() if value is None else value

    @field_validator("gate", mode="before")
    @classmethod
    def _named_gate(cls, value: Any) -> Any:
        return named_gate(value) if isinstance(value, str | Mapping) else value

    @field_validator("fusion", mode="before")
    @classmethod
    def _named_method(cls, value: Any) -> Any:
        return named_method(value) if isinstance(value, str | Mapping) else value

    def aggregation_weights(self, count: int) -> AggregationWeights:
        """Check that the settings fit ``count`` members, and return the weights.

        Raises:
            ConfigError: There is no member, no such main model, another number of weights, or weights that learn from
                committed tokens with a fusion method that is no mixture.
        """
        if count < 1:
            raise ConfigError(
                "expected at least one member, got 0 members", hint="give one or more members; two or more to fuse"
            )
        if not 0 <= self.main_model < count:
            raise ConfigError(
                f"main_model={self.main_model} names no member of {count}",
                hint=f"give an index from 0 to {count - 1}",
            )
        weights = self.weights
        numbers = getattr(weights, "base", None) if isinstance(weights, DynamicWeights) else weights
        if isinstance(numbers, tuple) and len(numbers) != count:
            raise ConfigError(f"{len(numbers)} weights for {count} members", hint="give one weight per member, or None")
        if isinstance(weights, AggregationWeights):
            self._require_mixture(weights)
            return weights
        return FixedWeights.average(count) if weights is None else FixedWeights(weights)

    def among(self, members: Sequence[int]) -> Self:
        """The settings for a subset of the members, given by their indices.

        The main model stays the same if it is in the subset, else the first member of the subset becomes the main
        model. Weights keep their proportions.

        Raises:
            ConfigError: The weights of these members are all zero.
        """
        main = members.index(self.main_model) if self.main_model in members else 0
        weights = self.weights
        if isinstance(weights, AggregationWeights):
            weights = weights.subset(members)
        elif weights is not None and members:
            weights = FixedWeights([weights[i] for i in members]).values
        return self.model_copy(update={"main_model": main, "weights": weights})

    @property
    def own_parts(self) -> str | None:
        """Describe the first setting that no file can hold, as its class has no registered name; None if there is none.

        A class derived from a registered class has no registered name either.
        """
        if type(self.fusion) not in METHODS.values():
            return f"a fusion method of your own ({type(self.fusion).__name__})"
        if type(self.gate) is not Gate:
            return f"a gate of your own ({type(self.gate).__name__})"
        if type(self.generation) is not GenerationOptions:
            return f"generation options of the class {type(self.generation).__name__}, which may hold tools"
        if self._own_weights:
            return f"aggregation weights of your own ({type(self.weights).__name__})"
        return None

    def _require_mixture(self, weights: AggregationWeights) -> None:
        if weights.learns and not self.fusion.mixes:
            name = getattr(weights, "by", type(weights).__name__)
            raise ConfigError(
                f"weights={name!r} learn by each member's part in a mixture, "
                f"which fusion={self.fusion.method!r} is not",
                hint=f"choose fusion={' or '.join(repr(method) for method, kind in METHODS.items() if kind.mixes)}, "
                "or other weights",
            )

    def require_named_weights(self) -> None:
        """Check that a configuration can hold the aggregation weights.

        Raises:
            ConfigError: The aggregation weights are of a class that has no registered name.
        """
        if self._own_weights:
            raise ConfigError(
                f"no configuration holds aggregation weights of your own ({type(self.weights).__name__})",
                hint="give a list of weights or a name, or load the members first: EnsembleLLM(members, weights=...)",
            )

    @property
    def _own_weights(self) -> bool:
        return isinstance(self.weights, AggregationWeights) and type(self.weights) not in DYNAMIC.values()

    def require_drafts(self) -> None:
        """Check that a draft model may draft tokens.

        Raises:
            ConfigError: ``draft_tokens`` is 0.
        """
        if self.draft_tokens < 1:
            raise ConfigError(
                "expected draft_tokens above 0, got a draft_model that may draft no token",
                hint="set it, such as draft_tokens=4",
            )
