"""The demonstration: the bundled specialists alone, and as one ensemble, on questions none of them was trained on."""

from deepen_llm.demo.measure import Result, measure, pick
from deepen_llm.demo.settings import FILE, Choice, DemoSettings
from deepen_llm.demo.verdict import Verdict, judge

__all__ = ["FILE", "Choice", "DemoSettings", "Result", "Verdict", "judge", "measure", "pick"]
