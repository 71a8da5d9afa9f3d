"""What a user may set, and what LlamaIndex is told of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.llms.deepen.responses import model_name
from llama_index.llms.deepen.source import EnsembleSource

from deepen_llm import EnsembleLLM, FusionMethod, GenerationOptions, MemberConfig
from deepen_llm.errors import ConfigError

SETTINGS = ("main_model", "weights", "fusion", "eos_policy", "batch_size")
SAMPLING = tuple(name for name in GenerationOptions.model_fields if name not in {"trace", "response_format"})
_FREE = (None, "auto", "none")  # the choices of tools that leave an answer free


class Configured(FunctionCallingLLM):
    """An ensemble's settings; see `DeepenLLM`."""

    members: list[str | dict[str, Any]] | None = Field(
        default=None, description="Folders, hub ids, or fields of MemberConfig."
    )
    config: str | None = Field(default=None, description="A YAML file that says everything about the ensemble.")

    main_model: int | None = Field(default=None, description="Index of the member whose vocabulary tokens come from.")
    weights: list[float] | None = Field(default=None, description="Aggregation weights, one per member.")
    fusion: str | dict[str, Any] | None = Field(default=None, description="The fusion method.")
    eos_policy: str | None = Field(default=None, description="Who ends a text: 'fused' or 'main'.")
    batch_size: int | None = Field(default=None, description="The most texts decoded together.")

    max_new_tokens: int | None = Field(default=None, description="The most tokens of the main model to commit.")
    temperature: float | None = Field(default=None, description="0 is greedy; else the fused distribution is sampled.")
    top_p: float | None = Field(default=None, description="Sample from the likeliest tokens of this probability.")
    top_k: int | None = Field(default=None, description="Sample from this many likeliest tokens; 0 is no bound.")
    min_p: float | None = Field(default=None, description="Sample from tokens with this share of the likeliest one's.")
    seed: int | None = Field(default=None, description="Makes sampling repeat.")
    stop: list[str] | None = Field(default=None, description="Strings before which the text ends.")
    repetition_penalty: float | None = Field(default=None, description="Above 1, tokens seen become less likely.")
    n: int | None = Field(default=None, description="Samples per prompt; all of them are in a response's raw.")
    logprobs: int | None = Field(default=None, description="Report tokens' log-probabilities, and as many likely ones.")

    is_chat_model: bool = Field(default=True, description="False for members without chat templates.")

    _source: EnsembleSource = PrivateAttr()

    def __init__(self, *, ensemble: EnsembleLLM | None = None, **given: Any) -> None:
        _refuse_unknown(given, ["ensemble", *type(self).model_fields])
        given = {name: _plain(name, value) for name, value in given.items()}
        settings = {name: given[name] for name in SETTINGS if given.get(name) is not None}
        source = EnsembleSource.of(ensemble, given.get("members"), given.get("config"), settings)
        GenerationOptions(**{name: given[name] for name in SAMPLING if given.get(name) is not None})
        super().__init__(**given)
        self._source = source

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised forms."""
        return "DeepenLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans with; told without loading weights."""
        asked = self.max_new_tokens
        return LLMMetadata(
            context_window=self._source.context_window or DEFAULT_CONTEXT_WINDOW,
            num_output=self._source.settings.generation.max_new_tokens if asked is None else asked,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_chat_model,
            model_name=model_name(self._source.names),
        )

    def to_payload(self) -> dict[str, Any]:
        """What observers are told with every call: nothing that would have to be read from a disk or a hub first."""
        return {"class_name": self.class_name(), "model_name": model_name(self._source.names), **self._sampling()}

    def load(self) -> EnsembleLLM:
        """The ensemble; its weights are loaded now if they were not.

        Raises:
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.
        """
        return self._source.load()

    def _sampling(self) -> dict[str, Any]:
        """The options set on this instance."""
        return {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options in force for a call; a ``stop`` set for free text does not cut a structured answer short."""
        structured = given.get("response_format") is not None or given.get("tool_choice") not in _FREE
        return {**self._sampling(), **({"stop": ()} if structured else {}), **given}


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        guess = f", did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"DeepenLLM: unknown option {unknown!r}{guess}", hint=f"known options: {', '.join(known)}")


def _plain(name: str, value: Any) -> Any:
    """A setting in the form that serialises."""
    if name == "members" and isinstance(value, Sequence):
        return [_member(one) for one in ([value] if isinstance(value, str) else value)]
    if name == "members" and isinstance(value, Path | Mapping | MemberConfig):
        return [_member(value)]
    if isinstance(value, FusionMethod):
        return {"method": value.method, **value.model_dump(mode="json", exclude_defaults=True)}
    if name == "stop" and isinstance(value, str):
        return [value]
    return str(value) if isinstance(value, Path) else value


def _member(given: Any) -> Any:
    if isinstance(given, MemberConfig):
        return given.model_dump(mode="json", exclude_defaults=True)
    return str(given) if isinstance(given, Path) else given
