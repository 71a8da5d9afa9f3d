"""deepen-llm: several local language models with different vocabularies decode as one model.

from deepen_llm import EnsembleLLM
llm = EnsembleLLM.from_pretrained(["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"])
llm.generate("The capital of France is").text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepen_llm.storage.version import __version__ as __version__

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig
    from deepen_llm.engine.options import ChatOptions, GenerationOptions
    from deepen_llm.errors import DeepenError
    from deepen_llm.fusion import (
        Bayes,
        Deepen,
        EntropyWeights,
        Exact,
        FusionMethod,
        PromptWeights,
        Surface,
        TrackWeights,
        adapted_weights,
    )
    from deepen_llm.fusion.gate import Gate
    from deepen_llm.llm import EnsembleLLM
    from deepen_llm.members.config import MemberConfig
    from deepen_llm.outputs import Output, Piece, Sample, Score
    from deepen_llm.tools import Tool, ToolCall
    from deepen_llm.tuning import Example, SearchSpace, Tuning
    from deepen_llm.tuning.tune import tune

__all__ = [
    "Bayes",
    "ChatOptions",
    "Deepen",
    "DeepenError",
    "EnsembleConfig",
    "EnsembleLLM",
    "EntropyWeights",
    "Exact",
    "Example",
    "FusionMethod",
    "Gate",
    "GenerationOptions",
    "MemberConfig",
    "Output",
    "Piece",
    "PromptWeights",
    "Sample",
    "Score",
    "SearchSpace",
    "Surface",
    "Tool",
    "ToolCall",
    "TrackWeights",
    "Tuning",
    "adapted_weights",
    "tune",
]

_MODULES = {
    "Bayes": "deepen_llm.fusion",
    "ChatOptions": "deepen_llm.engine.options",
    "Deepen": "deepen_llm.fusion",
    "DeepenError": "deepen_llm.errors",
    "EnsembleConfig": "deepen_llm.config",
    "EnsembleLLM": "deepen_llm.llm",
    "EntropyWeights": "deepen_llm.fusion",
    "Exact": "deepen_llm.fusion",
    "Example": "deepen_llm.tuning",
    "FusionMethod": "deepen_llm.fusion",
    "Gate": "deepen_llm.fusion.gate",
    "GenerationOptions": "deepen_llm.engine.options",
    "MemberConfig": "deepen_llm.members.config",
    "Output": "deepen_llm.outputs",
    "Piece": "deepen_llm.outputs",
    "PromptWeights": "deepen_llm.fusion",
    "Sample": "deepen_llm.outputs",
    "Score": "deepen_llm.outputs",
    "SearchSpace": "deepen_llm.tuning",
    "Surface": "deepen_llm.fusion",
    "Tool": "deepen_llm.tools",
    "ToolCall": "deepen_llm.tools",
    "TrackWeights": "deepen_llm.fusion",
    "Tuning": "deepen_llm.tuning",
    "adapted_weights": "deepen_llm.fusion",
    "tune": "deepen_llm.tuning.tune",
}
"""The module of each public name; it is imported when the name is first used."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `deepen --help` does not wait for torch."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'deepen_llm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
