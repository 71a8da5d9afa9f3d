"""Structured answers: grammars that mask the fused distribution."""

from deepen_llm.structure.budget import TokenBudget
from deepen_llm.structure.grammar import Grammar, Grammars
from deepen_llm.structure.guide import Guide
from deepen_llm.structure.response_format import ResponseFormat

__all__ = ["Grammar", "Grammars", "Guide", "ResponseFormat", "TokenBudget"]
