"""How distributions over different vocabularies become one: a method a file."""

from deepen_llm.fusion.base import Fusion, FusionMethod
from deepen_llm.fusion.bayes import Bayes
from deepen_llm.fusion.deepen import Deepen
from deepen_llm.fusion.weights import AggregationWeights, FixedWeights, adapted_weights

METHODS: dict[str, type[FusionMethod]] = {"deepen": Deepen, "bayes": Bayes}
"""Every method by the name that users give it."""

__all__ = [
    "METHODS",
    "AggregationWeights",
    "Bayes",
    "Deepen",
    "FixedWeights",
    "Fusion",
    "FusionMethod",
    "adapted_weights",
]
