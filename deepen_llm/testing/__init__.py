"""Conformance tests for members, fusion methods and aggregation weights, and scripted members to test with.

Subclass `MemberTests`, `FusionMethodTests` or `AggregationWeightsTests` in a test module, override its fixture, and run
pytest: every law of the suite becomes a test (docs/extending.md). The suites need pytest (``pip install
'deepen-llm[testing]'``); the scripted models and members do not.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepen_llm.testing.fusible import FusibleMember, SpellingMember, random_logits, random_member, vocabulary_of
from deepen_llm.testing.scripted import (
    AnswerScript,
    Script,
    ScriptedLlama,
    TokenScript,
    answering,
    scripted,
    scripted_model,
)

if TYPE_CHECKING:
    from deepen_llm.testing.fusion_method import FusionMethodTests
    from deepen_llm.testing.member import MemberTests
    from deepen_llm.testing.weights import AggregationWeightsTests

_SUITES = {
    "AggregationWeightsTests": "deepen_llm.testing.weights",
    "FusionMethodTests": "deepen_llm.testing.fusion_method",
    "MemberTests": "deepen_llm.testing.member",
}


def __getattr__(name: str) -> Any:
    """Import a suite on first use, with its asserts rewritten by pytest, so that failures show values."""
    if name not in _SUITES:
        raise AttributeError(f"module 'deepen_llm.testing' has no attribute {name!r}")
    if _SUITES[name] not in sys.modules:
        import_module("pytest").register_assert_rewrite(_SUITES[name])
    return getattr(import_module(_SUITES[name]), name)


__all__ = [
    "AggregationWeightsTests",
    "AnswerScript",
    "FusibleMember",
    "FusionMethodTests",
    "MemberTests",
    "Script",
    "ScriptedLlama",
    "SpellingMember",
    "TokenScript",
    "answering",
    "random_logits",
    "random_member",
    "scripted",
    "scripted_model",
    "vocabulary_of",
]
