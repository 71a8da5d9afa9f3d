"""Ensemble configuration: the members and the settings with which they decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import Self, TypedDict, Unpack

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError, refuse_unknown
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
from deepen_llm.structure.response_format import ResponseFormat

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
    batch_size: int
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
        batch_size: The most texts decoded together; further ones wait.
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
    batch_size: int = Field(16, ge=1)
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


class EnsembleConfig(EnsembleSettings):
    """A whole ensemble, as in a YAML file.

    Attributes:
        members: Where each member comes from; a plain string is its path.
        draft_model: Where the draft model comes from; None if the main model drafts.
    """

    members: tuple[MemberConfig, ...]
    draft_model: MemberConfig | None = None

    @classmethod
    def of(cls, members: AnySource | Sequence[AnySource], **options: Unpack[LoadingSettings]) -> Self:
        """Make a configuration from members and options.

        Args:
            members: One or several hub ids, local folders, `MemberConfig` or mappings with its fields.
            **options: Settings of the ensemble, ``draft_model``, and how members and a draft model given by path alone
                are loaded: fields of `MemberConfig`. The draft model goes to the main model's device.

        Raises:
            ConfigError: An option is unknown or cannot be used, or there are not as many devices as members.
        """
        refuse_unknown(cls.__name__, options, LoadingSettings.__annotations__)
        settings: dict[str, Any] = dict(options)
        loading = {name: settings.pop(name) for name in Placement.__annotations__ if name in settings}
        device_option, draft_model = loading.pop("device", "auto"), settings.pop("draft_model", None)
        listed = _listed(members)
        devices = list(device_option) if isinstance(device_option, list | tuple) else [device_option] * len(listed)
        if len(devices) != len(listed):
            raise ConfigError(f"{len(devices)} devices for {len(listed)} members", hint="give one device per member")
        main = settings.get("main_model", 0)
        main_device = {"device": devices[main]} if isinstance(main, int) and 0 <= main < len(devices) else {}
        return cls(
            members=[
                _with_loading(member, {"device": device, **loading})
                for member, device in zip(listed, devices, strict=True)
            ],
            draft_model=_with_loading(draft_model, {**main_device, **loading}),
            **settings,
        )

    @property
    def settings(self) -> EnsembleSettings:
        """The settings without the members and the draft model."""
        return EnsembleSettings.model_construct(**{name: getattr(self, name) for name in EnsembleSettings.model_fields})

    @property
    def sources(self) -> tuple[MemberConfig, ...]:
        """The members' configurations, followed by the draft model's if there is one."""
        return self.members if self.draft_model is None else (*self.members, self.draft_model)

    @property
    def taking_part(self) -> tuple[MemberConfig, ...]:
        """The members that take part: all but those whose weight is fixed at 0, the main model excepted."""
        weights = self.aggregation_weights(len(self.members))
        return tuple(
            member for i, member in enumerate(self.members) if i == self.main_model or weights.may_have_weight(i)
        )

    @field_validator("draft_model", mode="before")
    @classmethod
    def _plain_path(cls, value: Any) -> Any:
        return {"path": str(value)} if isinstance(value, str | Path) else value

    @field_validator("members", mode="before")
    @classmethod
    def _plain_paths(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"path": str(member)} if isinstance(member, str | Path) else member for member in value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.draft_model:
            self.require_drafts()
        self.require_named_weights()
        return self

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read a YAML file; a relative path of a member or draft model that exists beside the file is taken from there.

        Raises:
            ConfigError: The file cannot be read, is no YAML mapping, or has an option that is unknown or cannot be
                used.
        """
        try:
            text = _path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(file, error) from error
        return cls._read(text, file)

    @classmethod
    def _read(cls, text: str, file: str | Path) -> Self:
        """Parse a file's text for `load`."""
        try:
            fields = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise _unreadable(file, error) from error
        if not isinstance(fields, dict):
            raise ConfigError(
                f"the configuration {file} is no mapping", hint="begin it with 'members:' and a list of paths"
            )
        try:
            config = cls(**fields)
        except TypeError as error:  # YAML keys may be numbers
            raise ConfigError(
                f"the configuration {file} has a key that is no text: {error}", hint="write every key as a word"
            ) from error
        folder = Path(file).parent
        return config._with_paths(lambda member: _in_folder(member, folder))

    def save(self, file: str | Path) -> None:
        """Write the YAML file that `load` reads; options at their defaults are left out, local paths made absolute.

        A Python type as ``response_format`` is written as its JSON schema: answers are then read as plain JSON.

        Raises:
            ConfigError: A setting is of a class of your own, the file would be read as something else, or it cannot be
                written. Then nothing is written.
        """
        if self.own_parts:
            raise ConfigError(
                f"no configuration file holds {self.own_parts}",
                hint="keep the code that makes the ensemble, and save the configuration without it",
            )
        absolute = self._with_paths(_absolute)
        fields = absolute.model_dump(mode="json", exclude_defaults=True)
        if "fusion" in fields:
            fields["fusion"] = {"method": self.fusion.method, **fields["fusion"]}
        path = _path(file)
        text = yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        absolute._require_same(self._read(text, file), file)  # noqa: SLF001 - of its own class
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the configuration {file} cannot be written: {error}", hint="give a file to write to"
            ) from error

    def _require_same(self, read: Self, file: str | Path) -> None:
        """Check that a file's text, read again, gives this configuration.

        Raises:
            ConfigError: A field differs.
        """
        for name in type(self).model_fields:
            written, value = _plain(getattr(self, name)), getattr(read, name)
            if written != value:
                raise ConfigError(
                    f"the configuration {file} would be read with {name}={value!r:.200} in place of {written!r:.200}",
                    hint="where a member's name is that of a folder beside the file, write the file elsewhere",
                )

    def _with_paths(self, change: Callable[[MemberConfig], MemberConfig]) -> Self:
        draft_model = self.draft_model and change(self.draft_model)
        return self.model_copy(update={"members": tuple(map(change, self.members)), "draft_model": draft_model})


def _listed(members: AnySource | Sequence[AnySource]) -> list[AnySource]:
    if isinstance(members, str | Path | Mapping | MemberConfig):
        return [members]
    if members is not None and not isinstance(members, Iterable):
        raise ConfigError(
            f"expected members, got {members!r:.200}", hint="give a list of hub ids, local folders or MemberConfig"
        )
    return list(members or ())


def _path(file: str | Path) -> Path:
    try:
        return Path(file)
    except TypeError as error:
        raise ConfigError(
            f"expected the path of a configuration file, got {file!r:.200}", hint="give a path as a string"
        ) from error


def _with_loading(member: AnySource | None, loading: Mapping[str, Any]) -> Any:
    """Add options of loading to a member that is given by its path alone."""
    return {"path": str(member), **loading} if isinstance(member, str | Path) else member


def _absolute(member: MemberConfig) -> MemberConfig:
    folder = Path(member.path)
    return member.model_copy(update={"path": str(folder.resolve())}) if folder.exists() else member


def _in_folder(member: MemberConfig, folder: Path) -> MemberConfig:
    path = folder / member.path
    return member.model_copy(update={"path": str(path)}) if path.exists() else member


class _Dumper(yaml.SafeDumper):
    """Writes every text so that it is read unchanged: with PyYAML's choice of quotes, line separators are lost."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """A text; in double quotes, in which characters are escaped, if one of them is not printable."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


def _plain(value: Any) -> Any:
    """A setting as a file holds it: with a JSON schema in place of a Python type as ``response_format``."""
    if not isinstance(value, GenerationOptions) or value.response_format is None:
        return value
    return value.model_copy(update={"response_format": ResponseFormat(value.response_format.schema)})


def _unreadable(file: str | Path, error: Exception) -> ConfigError:
    return ConfigError(f"the configuration {file} cannot be read: {error}", hint="give a readable YAML file")
