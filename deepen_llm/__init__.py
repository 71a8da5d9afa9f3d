"""deepen-llm: several local language models with different vocabularies decode as one model.

from deepen_llm import EnsembleLLM
llm = EnsembleLLM.from_pretrained(["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"])
llm.generate("The capital of France is").text
"""

from deepen_llm.config import EnsembleConfig, GenerationOptions, MemberConfig
from deepen_llm.ensemble import EnsembleLLM
from deepen_llm.errors import DeepenError
from deepen_llm.fusion import Bayes, Deepen, FusionMethod, adapted_weights
from deepen_llm.outputs import Output, Sample, Score

__version__ = "0.1.0"

__all__ = [
    "Bayes",
    "Deepen",
    "DeepenError",
    "EnsembleConfig",
    "EnsembleLLM",
    "FusionMethod",
    "GenerationOptions",
    "MemberConfig",
    "Output",
    "Sample",
    "Score",
    "adapted_weights",
]
