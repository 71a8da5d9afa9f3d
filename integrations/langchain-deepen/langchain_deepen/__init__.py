"""LangChain models of deepen-llm: an ensemble of local language models wherever a model goes.

from langchain_deepen import ChatDeepen
chat = ChatDeepen(members=["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"])
chat.invoke("What is the capital of France?").text
"""

from langchain_deepen.chat_models import ChatDeepen
from langchain_deepen.errors import DeepenContextOverflowError
from langchain_deepen.llms import DeepenLLM
from langchain_deepen.version import __version__

__all__ = ["ChatDeepen", "DeepenContextOverflowError", "DeepenLLM", "__version__"]
