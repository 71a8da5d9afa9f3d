"""Tools: definitions from callers, formats of calls, and parsers of calls."""

import deepen_llm.vocabulary.supported  # noqa: F401 - before the first module that imports transformers
from deepen_llm.tools.calls import CallDelta, ToolCall
from deepen_llm.tools.choice import ToolChoice
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import KNOWN, ToolFormat

__all__ = ["KNOWN", "CallDelta", "Tool", "ToolCall", "ToolChoice", "ToolFormat", "Toolbox"]
