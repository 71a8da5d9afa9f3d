"""Converts LangChain's options to generation options of `deepen_llm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deepen_llm import ChatOptions, GenerationOptions
from deepen_llm.errors import ConfigError

OPTIONS = tuple(GenerationOptions.model_fields)
_ALIASES = {"max_tokens": "max_new_tokens", "stop_sequences": "stop"}
_REMOTE = ("api_key", "timeout", "max_retries")  # LangChain's standard parameters without effect on local models
_TRACING = ("ls_structured_output_format", "structured_output_format", "stream")  # for LangChain itself
_LISTS = ("stop", "stop_token_ids")  # a single value may be given without a list
_MAY_BE_NONE = ("seed", "logprobs", "response_format")


def from_user(given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments under the names of the fields.

    Raises:
        ConfigError: An option is given under two names.
    """
    return _named({name: value for name, value in given.items() if name not in _REMOTE})


def of_call(stop: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a call sets.

    Args:
        stop: LangChain's own argument.
        given: The other arguments; None means the instance's option, except where None is a value of the option.

    Raises:
        ConfigError: An option is given under two names.
    """
    own = {name: value for name, value in given.items() if name not in _TRACING}
    if stop is not None:
        own["stop"] = stop
    return {name: value for name, value in _named(own).items() if value is not None or name in _MAY_BE_NONE}


def in_force(
    kind: type[GenerationOptions], generation: GenerationOptions, given: Mapping[str, Any]
) -> GenerationOptions:
    """All options that a call runs with.

    Args:
        kind: The class of options that the call of `EnsembleLLM` takes.
        generation: The ensemble's options.
        given: The options of the instance and of the call.

    Raises:
        ConfigError: An option is unknown or cannot be used.
    """
    own = {name: value for name, value in given.items() if name != "model"}
    return kind(**kind.merged(dict(generation), own))


def canonical(kind: type[GenerationOptions], generation: GenerationOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options `in_force` as JSON; equal calls give equal JSON, by whichever names options are given.

    Raises:
        ConfigError: An option is unknown or cannot be used.
    """
    options = in_force(kind, generation, given)
    written = {**options.model_dump(mode="json", include=set(OPTIONS)), "model": given.get("model")}
    if isinstance(options, ChatOptions):
        written["tools"] = asdict(options.toolbox) if options.toolbox else None
        written["continue_final_message"] = options.continue_final_message
    return written


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in given.items():
        own = _ALIASES.get(name, name)
        if own in named and named[own] != value:
            raise ConfigError(f"{name}={value!r} beside {own}={named[own]!r}", hint=f"give {own} alone")
        named[own] = [value] if own in _LISTS and isinstance(value, str | int) else value
    return named
