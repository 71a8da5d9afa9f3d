"""The specialists as ensembles on a device, each loaded once."""

from functools import cache
from typing import Any

import torch

from deepen_llm import EnsembleLLM, specialists

ACCELERATOR = "cuda" if torch.cuda.is_available() else "cpu"
PATHS = tuple(str(path) for path in specialists.paths())
PROMPTS = ["The capital of France is", "Question: What is 2 plus 3?\nAnswer:", "Water", "The opposite of hot is"]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@cache
def ensemble(
    device: str | tuple[str, ...], fusion: str = "bayes", dtype: str = "float32", **settings: Any
) -> EnsembleLLM:
    """All specialists, in fp32 unless said otherwise, so that devices differ in rounding alone."""
    places = list(device) if isinstance(device, tuple) else device
    return EnsembleLLM.from_pretrained(PATHS, device=places, dtype=dtype, fusion=fusion, **settings)
