"""Tuning: choice of members, main model, fusion, weights and gate on a development set.

`tune.py` has the entry point, `tuner.py` the method.
"""

from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.result import Tuning
from deepen_llm.tuning.space import SearchSpace

__all__ = ["Example", "SearchSpace", "Tuning"]
