"""How distributions over different vocabularies become one: a method a file."""

from deepen_llm.fusion.base import Fusion, FusionMethod
from deepen_llm.fusion.bayes import Bayes
from deepen_llm.fusion.deepen import Deepen
from deepen_llm.fusion.following import FOLLOWING, EntropyWeights, FollowingWeights, PromptWeights, named_weights
from deepen_llm.fusion.weights import AggregationWeights, FixedWeights, Likelihood, adapted_weights

METHODS: dict[str, type[FusionMethod]] = {"deepen": Deepen, "bayes": Bayes}
"""Every method by the name that users give it."""

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
    "adapted_weights",
    "named_weights",
]
