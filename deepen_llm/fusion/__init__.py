"""Fusion: methods that combine next-token distributions over different vocabularies, gates and aggregation weights."""

from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.fusion.base import Fusion, FusionMethod
from deepen_llm.fusion.methods import Bayes, Deepen, Exact, Surface
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.registry import DEFAULT, METHODS, STARTING_METHODS, method_class, named_method
from deepen_llm.fusion.weights.base import AggregationWeights, FixedWeights, Likelihood, adapted_weights
from deepen_llm.fusion.weights.dynamic import DynamicWeights, EntropyWeights, PromptWeights
from deepen_llm.fusion.weights.tracking import TrackWeights

DYNAMIC: dict[str, type[DynamicWeights]] = {
    "prompt": PromptWeights,
    "entropy": EntropyWeights,
    "track": TrackWeights,
}
"""Weights that depend on the input, by the names that users give them."""


def named_weights(setting: str | Mapping[str, Any]) -> DynamicWeights:
    """The weights that a name, or a mapping with ``by`` and options, describes.

    Raises:
        ConfigError: No weights have this name, or an option cannot be used.

    >>> named_weights({"by": "prompt", "tau": 0.5})
    PromptWeights(by='prompt', tau=0.5, per='token')
    """
    options = {"by": setting} if isinstance(setting, str) else dict(setting)
    known = ", ".join(map(repr, DYNAMIC))
    if "by" not in options:
        raise ConfigError(f"weights={options!r} do not say by what", hint=f"add 'by', one of {known}")
    name = options["by"]
    if not isinstance(name, str) or name not in DYNAMIC:
        raise ConfigError(
            f"unknown aggregation weights {name!r}{suggestion(name, DYNAMIC)}",
            hint=f"give one number per member, or one of {known}",
        )
    return DYNAMIC[name](**options)


__all__ = [
    "DEFAULT",
    "DYNAMIC",
    "METHODS",
    "STARTING_METHODS",
    "AggregationWeights",
    "Bayes",
    "Deepen",
    "DynamicWeights",
    "EntropyWeights",
    "Exact",
    "FixedWeights",
    "Fusion",
    "FusionMethod",
    "Likelihood",
    "Needs",
    "PromptWeights",
    "Surface",
    "TrackWeights",
    "adapted_weights",
    "method_class",
    "named_method",
    "named_weights",
]
