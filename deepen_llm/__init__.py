"""deepen-llm: several local language models with different vocabularies decode as one model.

from deepen_llm import EnsembleLLM
llm = EnsembleLLM.from_pretrained(["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"])
llm.generate("The capital of France is").text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig, MemberConfig
    from deepen_llm.ensemble import EnsembleLLM
    from deepen_llm.errors import DeepenError
    from deepen_llm.fusion import (
        Bayes,
        Deepen,
        EntropyWeights,
        FusionMethod,
        PromptWeights,
        Surface,
        TrackWeights,
        adapted_weights,
    )
    from deepen_llm.gate import Gate
    from deepen_llm.generation import ChatOptions, GenerationOptions
    from deepen_llm.outputs import Output, Piece, Sample, Score
    from deepen_llm.tools import Tool, ToolCall
    from deepen_llm.tuning import Example, SearchSpace, Tuning

__version__ = "0.1.0"

__all__ = [
    "Bayes",
    "ChatOptions",
    "Deepen",
    "DeepenError",
    "EnsembleConfig",
    "EnsembleLLM",
    "EntropyWeights",
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
]

# where the names above live
_ROOMS = ("ensemble", "config", "generation", "errors", "fusion", "gate", "outputs", "tools", "tuning")


def __getattr__(name: str) -> Any:
    """Import on first use: `deepen --help` need not wait for torch."""
    if name in __all__:
        import_module("deepen_llm.supported")  # before anything that imports transformers
        rooms = (import_module(f"deepen_llm.{room}") for room in _ROOMS)
        return next(getattr(room, name) for room in rooms if hasattr(room, name))
    raise AttributeError(f"module 'deepen_llm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
