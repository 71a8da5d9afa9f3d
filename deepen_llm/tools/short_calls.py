"""Shortest calls of tools, as known ends of a grammar."""

from __future__ import annotations

from collections.abc import Iterator

from deepen_llm.errors import ConfigError
from deepen_llm.structure.grammar import shortest
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.grammar import of_schema


def short_calls(form: ToolFormat, toolbox: Toolbox) -> tuple[str, ...]:
    """Make a short answer with a call of each tool, sorted by length.

    Args:
        form: The format of calls.
        toolbox: The tools; one without a known short call is left out.
    """
    return tuple(sorted(_calls(form, toolbox), key=lambda call: (len(call), call)))


def _calls(form: ToolFormat, toolbox: Toolbox) -> Iterator[str]:
    for tool in toolbox.callable_tools:
        try:
            arguments = shortest(of_schema(tool.arguments))
        except ConfigError:
            continue
        yield form.write(iter([(tool.name, arguments)]))
