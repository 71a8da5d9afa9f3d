"""Options as LangChain's users give them, as the core takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deepen_llm import ChatOptions, GenerationOptions
from deepen_llm.errors import ConfigError

OPTIONS = tuple(GenerationOptions.model_fields)
_ALIASES = {"max_tokens": "max_new_tokens", "stop_sequences": "stop"}
_REMOTE = ("api_key", "timeout", "max_retries")  # LangChain's standard parameters that mean nothing to local models
_TRACING = ("ls_structured_output_format", "structured_output_format", "stream")  # for LangChain itself
_LISTS = ("stop", "stop_token_ids")  # of which one may be given alone
_MAY_BE_NONE = ("seed", "logprobs", "response_format")


def from_user(given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments, by the names of the fields.

    Raises:
        ConfigError: An option is given under two names.
    """
    return _named({name: value for name, value in given.items() if name not in _REMOTE})


def of_call(stop: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a call sets.

    Args:
        stop: LangChain's own argument.
        given: The others; None leaves an option to the instance, where it means nothing itself.

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
    """All options that a call runs with, as the core finds them.

    Args:
        kind: The options that the core's call takes.
        generation: The ensemble's own.
        given: The instance's and the call's.

    Raises:
        ConfigError: An option is unknown or cannot be used.
    """
    asked = {name: value for name, value in given.items() if name != "model"}
    return kind(**kind.merged(dict(generation), asked))


def canonical(kind: type[GenerationOptions], generation: GenerationOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options in force as JSON: equal for equal requests, however they were spelled.

    Args:
        kind: See `in_force`, as for the next two.
        generation: The ensemble's own.
        given: The instance's and the call's.

    Raises:
        ConfigError: An option is unknown or cannot be used.
    """
    options = in_force(kind, generation, given)
    said = {**options.model_dump(mode="json", include=set(OPTIONS)), "model": given.get("model")}
    if isinstance(options, ChatOptions):
        said["tools"] = asdict(options.toolbox) if options.toolbox else None
        said["continue_final_message"] = options.continue_final_message
    return said


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in given.items():
        own = _ALIASES.get(name, name)
        if own in made and made[own] != value:
            raise ConfigError(f"{name}={value!r} beside {own}={made[own]!r}", hint=f"give {own} alone")
        made[own] = [value] if own in _LISTS and isinstance(value, str | int) else value
    return made
