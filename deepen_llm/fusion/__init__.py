"""How distributions over different vocabularies become one: a method a file."""

from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.fusion.base import Fusion, FusionMethod
from deepen_llm.fusion.methods.bayes import Bayes
from deepen_llm.fusion.methods.deepen import Deepen
from deepen_llm.fusion.methods.surface import Surface
from deepen_llm.fusion.weights.base import AggregationWeights, FixedWeights, Likelihood, adapted_weights
from deepen_llm.fusion.weights.dynamic import EntropyWeights, FollowingWeights, PromptWeights
from deepen_llm.fusion.weights.tracking import TrackWeights

METHODS: dict[str, type[FusionMethod]] = {"deepen": Deepen, "bayes": Bayes, "surface": Surface}
"""Every method by the name that users give it."""


def named_method(given: str | Mapping[str, Any]) -> FusionMethod:
    """The fusion method of a name, or of a mapping with its ``method`` and options.

    Raises:
        ConfigError: There is none of this name, or an option cannot be used.

    >>> named_method({"method": "deepen", "relr": 0.3}).relr
    0.3
    """
    options = {"method": given} if isinstance(given, str) else dict(given)
    if "method" not in options:
        raise ConfigError(f"fusion={options!r} names no method", hint="add it, such as 'method': 'surface'")
    name = options["method"]
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(
            f"unknown fusion method {name!r}{suggestion(name, METHODS)}",
            hint=f"known are {', '.join(METHODS)}; a method of your own is given as an object, not by its name",
        )
    return METHODS[name](**options)


FOLLOWING: dict[str, type[FollowingWeights]] = {
    "prompt": PromptWeights,
    "entropy": EntropyWeights,
    "track": TrackWeights,
}
"""Weights that follow the input, by the names that users give them."""


def named_weights(given: str | Mapping[str, Any]) -> FollowingWeights:
    """The weights of a name, or of a mapping with ``by`` and options.

    Raises:
        ConfigError: There are none of this name, or an option cannot be used.

    >>> named_weights({"by": "prompt", "tau": 0.5})
    PromptWeights(by='prompt', tau=0.5, per='token')
    """
    options = {"by": given} if isinstance(given, str) else dict(given)
    known = ", ".join(map(repr, FOLLOWING))
    if "by" not in options:
        raise ConfigError(f"weights={options!r} do not say by what", hint=f"add 'by', one of {known}")
    name = options["by"]
    if not isinstance(name, str) or name not in FOLLOWING:
        raise ConfigError(
            f"unknown aggregation weights {name!r}{suggestion(name, FOLLOWING)}",
            hint=f"give one number per member, or one of {known}",
        )
    return FOLLOWING[name](**options)


__all__ = [
    "FOLLOWING",
    "METHODS",
    "AggregationWeights",
    "Bayes",
    "Deepen",
    "EntropyWeights",
    "FixedWeights",
    "FollowingWeights",
    "Fusion",
    "FusionMethod",
    "Likelihood",
    "PromptWeights",
    "Surface",
    "TrackWeights",
    "adapted_weights",
    "named_method",
    "named_weights",
]
