"""deepen-llm: several local language models with different vocabularies decode as one model.

from deepen_llm import EnsembleLLM
llm = EnsembleLLM.from_pretrained(["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"])
llm.generate("The capital of France is").text

Public are the names that this package exports, and those that `deepen_llm.errors`, `deepen_llm.specialists`,
`deepen_llm.testing` and, for integrations that convert tools and structures, `deepen_llm.tools` and
`deepen_llm.structure` export. Versions follow Semantic Versioning for these; all other modules are internal, and may
change in any version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepen_llm.storage.version import __version__ as __version__

if TYPE_CHECKING:
    from deepen_llm.config import (
        AnyFusion,
        AnyGate,
        AnySource,
        AnyWeights,
        EnsembleConfig,
        EnsembleSettings,
        LoadingSettings,
        Settings,
    )
    from deepen_llm.engine.options import ChatOptions, GenerationOptions
    from deepen_llm.errors import DeepenError
    from deepen_llm.fusion import (
        AggregationWeights,
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
    from deepen_llm.lazy import LazyEnsemble
    from deepen_llm.llm import EnsembleLLM
    from deepen_llm.members.config import MemberConfig
    from deepen_llm.outputs import Candidate, Output, Piece, Sample, Score, TokenLogprob, Trace, Usage
    from deepen_llm.requests.streams import AsyncTextStream, TextStream
    from deepen_llm.requests.text_model import TextModel
    from deepen_llm.structure import ResponseFormat
    from deepen_llm.tools import CallDelta, Tool, ToolCall
    from deepen_llm.tuning import Example, SearchSpace, Tuning
    from deepen_llm.tuning.tune import tune

__all__ = [
    "AggregationWeights",
    "AnyFusion",
    "AnyGate",
    "AnySource",
    "AnyWeights",
    "AsyncTextStream",
    "Bayes",
    "CallDelta",
    "Candidate",
    "ChatOptions",
    "Deepen",
    "DeepenError",
    "EnsembleConfig",
    "EnsembleLLM",
    "EnsembleSettings",
    "EntropyWeights",
    "Exact",
    "Example",
    "FusionMethod",
    "Gate",
    "GenerationOptions",
    "LazyEnsemble",
    "LoadingSettings",
    "MemberConfig",
    "Output",
    "Piece",
    "PromptWeights",
    "ResponseFormat",
    "Sample",
    "Score",
    "SearchSpace",
    "Settings",
    "Surface",
    "TextModel",
    "TextStream",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "Trace",
    "TrackWeights",
    "Tuning",
    "Usage",
    "adapted_weights",
    "tune",
]

_MODULES = {
    "AggregationWeights": "deepen_llm.fusion",
    "AnyFusion": "deepen_llm.config",
    "AnyGate": "deepen_llm.config",
    "AnySource": "deepen_llm.config",
    "AnyWeights": "deepen_llm.config",
    "AsyncTextStream": "deepen_llm.requests.streams",
    "Bayes": "deepen_llm.fusion",
    "CallDelta": "deepen_llm.tools",
    "Candidate": "deepen_llm.outputs",
    "ChatOptions": "deepen_llm.engine.options",
    "Deepen": "deepen_llm.fusion",
    "DeepenError": "deepen_llm.errors",
    "EnsembleConfig": "deepen_llm.config",
    "EnsembleLLM": "deepen_llm.llm",
    "EnsembleSettings": "deepen_llm.config",
    "EntropyWeights": "deepen_llm.fusion",
    "Exact": "deepen_llm.fusion",
    "Example": "deepen_llm.tuning",
    "FusionMethod": "deepen_llm.fusion",
    "Gate": "deepen_llm.fusion.gate",
    "GenerationOptions": "deepen_llm.engine.options",
    "LazyEnsemble": "deepen_llm.lazy",
    "LoadingSettings": "deepen_llm.config",
    "MemberConfig": "deepen_llm.members.config",
    "Output": "deepen_llm.outputs",
    "Piece": "deepen_llm.outputs",
    "PromptWeights": "deepen_llm.fusion",
    "ResponseFormat": "deepen_llm.structure",
    "Sample": "deepen_llm.outputs",
    "Score": "deepen_llm.outputs",
    "SearchSpace": "deepen_llm.tuning",
    "Settings": "deepen_llm.config",
    "Surface": "deepen_llm.fusion",
    "TextModel": "deepen_llm.requests.text_model",
    "TextStream": "deepen_llm.requests.streams",
    "TokenLogprob": "deepen_llm.outputs",
    "Tool": "deepen_llm.tools",
    "ToolCall": "deepen_llm.tools",
    "Trace": "deepen_llm.outputs",
    "TrackWeights": "deepen_llm.fusion",
    "Tuning": "deepen_llm.tuning",
    "Usage": "deepen_llm.outputs",
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
