"""The ensemble that ``--model_args`` describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepen_llm.config import LoadingSettings
from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.llm import EnsembleLLM


def load_ensemble(given: Mapping[str, Any]) -> EnsembleLLM:
    """Load the ensemble that ``--model_args`` describe.

    Raises:
        ConfigError: An argument is unknown or cannot be used.
        LoadError: A member cannot be loaded.
    """
    rest = {name: value for name, value in given.items() if name not in {"config", "members", "weights"}}
    known = LoadingSettings.__optional_keys__
    if unknown := sorted(set(rest) - set(known)):
        raise ConfigError(
            f"model_args has an unknown {unknown[0]!r}{suggestion(unknown[0], known)}",
            hint="give config=ensemble.yaml, or members=one+other with what EnsembleLLM.from_pretrained takes",
        )
    if ("config" in given) == ("members" in given):
        raise ConfigError(
            "model_args needs either config or members",
            hint="give --model_args config=ensemble.yaml, or members=one+other",
        )
    if "config" in given:
        if rest or "weights" in given:
            raise ConfigError(
                f"model_args has {', '.join(sorted(set(given) - {'config'}))} beside config={given['config']}",
                hint="set them in the file, which holds all settings",
            )
        return EnsembleLLM.from_config(given["config"])
    members, weights = given["members"], _weights(given.get("weights"))
    return EnsembleLLM.from_pretrained(
        members.split("+") if isinstance(members, str) else members, weights=weights, **rest
    )


def _weights(given: Any) -> Any:
    """The numbers of a string like ``0.3+0.7``, or of a single number; anything else as it is, such as a name."""
    try:
        return [float(number) for number in str(given).split("+")]
    except ValueError:
        return given
