"""What a user may set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializeAsAny,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from deepen_llm.errors import ConfigError
from deepen_llm.fusion import METHODS, Deepen, FixedWeights, FusionMethod
from deepen_llm.options import Options
from deepen_llm.structure.response_format import ResponseFormat
from deepen_llm.tools.definitions import Toolbox

_AS_SCHEMA = PlainSerializer(lambda asked: asked and dict(asked.schema), when_used="json")


class GenerationOptions(Options):
    """How to generate.

    Attributes:
        max_new_tokens: The most tokens of the main model to commit.
        temperature: 0 (or less than 1e-5) is greedy; else the fused distribution is sampled.
        top_p: Sample from the likeliest tokens that together have this probability.
        top_k: Sample from this many likeliest tokens; 0 is no bound.
        min_p: Sample from tokens with at least this share of the likeliest one's probability.
        seed: Makes sampling repeat; sample ``i`` of a prompt uses ``seed + i``.
        stop: Strings before which the text ends.
        repetition_penalty: Above 1, tokens of prompt and answer become less likely.
        n: Samples per prompt.
        logprobs: Report each token's log-probability and this many likeliest tokens beside it.
        trace: Report how each token came about.
        response_format: What the answer must be: a pydantic model, a dataclass or another type that pydantic knows, a
            JSON schema, or ``{"type": "json_object"}``. The fused distribution is held to it token by token, and the
            answer is whole within ``max_new_tokens``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: tuple[str, ...] = ()
    repetition_penalty: float = Field(1.0, gt=0)
    n: int = Field(1, ge=1)
    logprobs: int | None = Field(None, ge=0)
    trace: bool = False
    response_format: Annotated[ResponseFormat | None, BeforeValidator(ResponseFormat.of), _AS_SCHEMA] = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value

    @field_validator("stop")
    @classmethod
    def _none_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a stop string must not be empty")
        return value

    @model_validator(mode="after")
    def _nothing_cuts_structure(self) -> Self:
        if self.structured and self.stop:
            raise ValueError(f"stop={self.stop!r} would cut a structured answer short; give stop=() with it")
        return self

    @property
    def structured(self) -> bool:
        """Whether all of the answer has a structure of its own."""
        return self.response_format is not None

    @classmethod
    def merged(cls, standing: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
        """A call's options over standing ones, whose stop strings are for free text and cut no structure short.

        Args:
            standing: Options that hold for every call.
            call: Those of one call.

        Raises:
            ConfigError: An option is unknown or cannot be used.
        """
        both = {**standing, **call}
        if "stop" in standing and "stop" not in call and cls(**{**both, "stop": ()}).structured:
            del both["stop"]
        return both


class ChatOptions(GenerationOptions):
    """How to answer a conversation.

    Attributes:
        tools: What the model may ask to be called: documented functions, pydantic models, or mappings as the APIs have
            them.
        tool_choice: ``auto`` (the model decides), ``none``, ``required`` or ``any``, or the name of the tool to call.
        parallel_tool_calls: Whether an answer may hold several calls.
    """

    tools: Any = None
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True

    @cached_property
    def toolbox(self) -> Toolbox | None:
        """The tools of this request; None where none may be called."""
        return Toolbox.of(self.tools, self.tool_choice, self.parallel_tool_calls)

    @property
    def structured(self) -> bool:
        """See `GenerationOptions`."""
        return self.response_format is not None or (self.toolbox is not None and self.toolbox.choice.required)


class MemberConfig(Options):
    """Where a member comes from.

    Attributes:
        path: A local folder or a hub id.
        name: What messages and traces call it; by default the path's last part.
        revision: The hub revision.
        dtype: ``auto`` (the checkpoint's own; float16 becomes float32 on a CPU, which is slow in it) or a torch dtype.
        device: ``auto`` (a GPU where there is one) or a torch device.
        device_map: Accelerate's ``device_map``, to spread one member over devices, in place of ``device``.
        trust_remote_code: Run code that comes with the checkpoint.
        safetensors_only: Refuse weights in pickle formats, which can run code.
    """

    path: str = Field(min_length=1)
    name: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, int | str] | None = None
    trust_remote_code: bool = False
    safetensors_only: bool = True

    @property
    def label(self) -> str:
        """What messages and traces call the member."""
        folder = Path(self.path)
        return self.name or (folder.resolve().name if folder.exists() else self.path)

    @field_validator("path")
    @classmethod
    def _home(cls, value: str) -> str:
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    @field_validator("dtype", "device", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        """A torch dtype or device, by its name."""
        return str(value).removeprefix("torch.") if isinstance(value, torch.dtype | torch.device | str) else value


class EnsembleSettings(Options):
    """What holds for an ensemble, whatever its members.

    Attributes:
        main_model: Index of the member whose vocabulary tokens are chosen from.
        weights: Aggregation weights, one per member, scaled to sum 1; None for equal ones (DEEPEN-Avg).
        fusion: A fusion method, its name, or a mapping with its ``method`` and options.
        eos_policy: Who ends a text: the ``fused`` distribution, or the ``main`` model's most likely token alone.
        batch_size: The most texts decoded together; further ones wait.
        generation: Generation options in force unless a call says otherwise.
    """

    main_model: int = 0
    weights: tuple[float, ...] | None = None
    fusion: SerializeAsAny[FusionMethod] = Deepen()
    eos_policy: Literal["fused", "main"] = "fused"
    batch_size: int = Field(16, ge=1)
    generation: GenerationOptions = GenerationOptions()

    @field_validator("fusion", mode="before")
    @classmethod
    def _named_method(cls, value: Any) -> Any:
        given = {"method": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            return value
        name = given.get("method")
        if name not in METHODS:
            raise ValueError(f"unknown fusion method {name!r}; known are {', '.join(METHODS)}")
        return METHODS[name](**given)

    def aggregation_weights(self, count: int) -> FixedWeights:
        """The weights of ``count`` members, once the settings are found to fit that number.

        Raises:
            ConfigError: There is no member, no such main model, or another number of weights.
        """
        if count < 1:
            raise ConfigError("an ensemble of 0 members", hint="give at least one member; two or more to fuse")
        if not 0 <= self.main_model < count:
            raise ConfigError(
                f"main_model={self.main_model} names no member of {count}",
                hint=f"give an index from 0 to {count - 1}",
            )
        if self.weights is None:
            return FixedWeights.average(count)
        if len(self.weights) != count:
            raise ConfigError(
                f"{len(self.weights)} weights for {count} members", hint="give one weight per member, or None"
            )
        return FixedWeights(self.weights)


class EnsembleConfig(EnsembleSettings):
    """A whole ensemble, as a YAML file holds it.

    Attributes:
        members: Where each member comes from; a plain string is its path.
    """

    members: tuple[MemberConfig, ...]

    @field_validator("members", mode="before")
    @classmethod
    def _plain_paths(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"path": str(one)} if isinstance(one, str | Path) else one for one in value)
        return value

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read a YAML file; a member's relative path that exists beside the file is taken from there.

        Raises:
            ConfigError: The file cannot be read, is no YAML mapping, or says what is not understood.
        """
        try:
            given = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"the configuration {file} cannot be read: {error}", hint="give a readable YAML file"
            ) from error
        if not isinstance(given, dict):
            raise ConfigError(
                f"the configuration {file} is no mapping", hint="begin it with 'members:' and a list of paths"
            )
        try:
            config = cls(**given)
        except TypeError as error:  # YAML keys may be numbers, which no option is
            raise ConfigError(
                f"the configuration {file} has a key that is no text: {error}", hint="write every key as a word"
            ) from error
        beside = Path(file).parent
        return config.model_copy(update={"members": tuple(_from_beside(member, beside) for member in config.members)})

    def save(self, file: str | Path) -> None:
        """Write the YAML file that `load` reads; options at their defaults are left out, local paths made absolute.

        Raises:
            ConfigError: The file cannot be written.
        """
        members = tuple(_absolute(member) for member in self.members)
        given = self.model_copy(update={"members": members}).model_dump(mode="json", exclude_defaults=True)
        if "fusion" in given:
            given["fusion"] = {"method": self.fusion.method, **given["fusion"]}
        try:
            Path(file).write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the configuration {file} cannot be written: {error}", hint="give a file to write to"
            ) from error


def _absolute(member: MemberConfig) -> MemberConfig:
    folder = Path(member.path)
    return member.model_copy(update={"path": str(folder.resolve())}) if folder.exists() else member


def _from_beside(member: MemberConfig, folder: Path) -> MemberConfig:
    found = folder / member.path
    return member.model_copy(update={"path": str(found)}) if found.exists() else member
