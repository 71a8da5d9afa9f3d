"""Choosing an ensemble on a development set: its members, main model, fusion, weights and gate.

`tune.py` is the way in; `tuner.py`, read after it, is the method.
"""

from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.result import Tuning
from deepen_llm.tuning.space import SearchSpace

__all__ = ["Example", "SearchSpace", "Tuning"]
