"""An ensemble of local language models as one LlamaIndex model."""

from llama_index.llms.deepen.base import DeepenLLM

__all__ = ["DeepenLLM"]
