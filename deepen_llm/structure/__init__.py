"""Structured answers: grammars that mask the fused distribution."""

from deepen_llm.structure.budget import TokenBudget
from deepen_llm.structure.grammar import Grammar, Grammars
from deepen_llm.structure.guide import Guide
from deepen_llm.structure.paths import everywhere
from deepen_llm.structure.response_format import ResponseFormat, type_schema
from deepen_llm.structure.schema import enforceable

__all__ = ["Grammar", "Grammars", "Guide", "ResponseFormat", "TokenBudget", "enforceable", "everywhere", "type_schema"]
