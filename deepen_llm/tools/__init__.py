"""Tools: definitions from callers, formats of calls, and parsers of calls."""

import deepen_llm.vocabulary.supported  # noqa: F401 - before the first module that imports transformers
from deepen_llm.tools.calls import CallDelta, ToolCall
from deepen_llm.tools.choice import ToolChoice
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.docstrings import Docstring
from deepen_llm.tools.formats import KNOWN, ToolFormat
from deepen_llm.tools.functions import told_of
from deepen_llm.tools.mappings import spread
from deepen_llm.tools.parameters import briefly, rooted

__all__ = [
    "KNOWN",
    "CallDelta",
    "Docstring",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolFormat",
    "Toolbox",
    "briefly",
    "rooted",
    "spread",
    "told_of",
]
