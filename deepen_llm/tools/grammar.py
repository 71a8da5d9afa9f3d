"""Grammars in llguidance's Lark form, from schemas and tool formats."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from deepen_llm.structure.spelling import parts
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.formats import ToolFormat

_SPACE = {"x-guidance": {"whitespace_pattern": "( |\\n {0,16})?"}}  # bounded, so that white space cannot fill an answer
HEAD = '%llguidance {"no_forcing": true}\n'  # else llguidance allows only one tokenization of forced text
_ANY = "/(.|\\n)*/"  # whole characters; a complement of bytes would allow broken ones and special tokens
_LEAD = "LEAD: /[ \\n]?/\n"  # models may begin an answer with a space


def of_schema(schema: Mapping[str, Any]) -> str:
    """Make the grammar of one JSON value.

    Args:
        schema: Its JSON schema.
    """
    return f"{HEAD}start: LEAD value\nvalue: {json_value(schema)}\n{_LEAD}"


def json_value(schema: Mapping[str, Any]) -> str:
    """Make the body of a rule: a JSON value of a schema."""
    return "%json " + json.dumps({**schema, **_SPACE})


def literal(text: str, special: Mapping[str, int]) -> str:
    """Make the body of a rule: a fixed text, with special tokens by their ids.

    Args:
        text: The text.
        special: Special tokens by their spelling.
    """
    return " ".join(f"<[{special[part]}]>" if part in special else json.dumps(part) for part in parts(text, special))


def of_tools(
    form: ToolFormat,
    toolbox: Toolbox,
    special: Mapping[str, int],
    schema: Mapping[str, Any] | None,
    stops: Collection[int] = (),
) -> str:
    """Make the grammar of tool calls, and of free text or a JSON value if calls are optional.

    Args:
        form: The format of calls.
        toolbox: The tools, and whether they must be called.
        special: The main model's special tokens, by their spelling.
        schema: JSON schema of an answer without calls; None for free text.
        stops: Ids of special tokens that free text may contain, since they are stop strings.
    """
    tools = list(enumerate(toolbox.callable_tools))
    several = toolbox.parallel and not form.alone
    again = f"({literal(form.between + form.begin, special)} call)*" if several else ""
    rest = literal((form.opening + form.begin).removeprefix(form.trigger), special)
    rules = [
        *(
            _start_structured(form, toolbox.choice.required, special, schema)
            if toolbox.choice.required or schema is not None
            else _start_free(form, special, stops)
        ),
        f"calls: {rest} call {again} {literal(form.closing, special)}",
        f"call: ({' | '.join(f'call_{i}' for i, _ in tools)}) {literal(form.end, special)}",
    ]
    for i, tool in tools:
        name = literal(form.quoted(tool.name) + form.middle, special)
        rules.append(f"call_{i}: {name} {json_value(tool.arguments)}")
    return HEAD + "\n".join(rules) + "\n" + _LEAD


def _start_structured(
    form: ToolFormat, required: bool, special: Mapping[str, int], schema: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the start rules of an answer without free text."""
    calls = f"LEAD {literal(form.trigger, special)} calls"
    if required or schema is None:
        yield f"start: {calls}"
    else:
        yield f"start: {calls} | LEAD value"
        yield f"value: {json_value(schema)}"


def _start_free(form: ToolFormat, special: Mapping[str, int], stops: Collection[int]) -> Iterator[str]:
    """Yield the start rules of an answer that may be free text."""
    trigger, stop = literal(form.trigger, special), f"<[{','.join(map(str, sorted(stops)))}]>"
    if form.alone:
        yield f"start: LEAD {trigger} calls | TEXT{f' ({stop} REST)*' if stops else ''}"
        yield f"TEXT: {_ANY} & ~/[ \\n]?{_regex(form.trigger)}(.|\\n)*/"
        yield f"REST: {_ANY}"
        return
    text = f"(TEXT {stop})* " if stops else ""
    if form.trigger in special:
        yield f"start: {text}TEXT {trigger} calls | {text}TEXT"
        yield f"TEXT: {_ANY}"
    else:
        yield f"start: {text}head calls | {text}TEXT"
        yield f"head[lazy]: TEXT {trigger}"
        yield f"TEXT: {_ANY} & ~/(.|\\n)*{_regex(form.trigger)}(.|\\n)*/"


def _regex(text: str) -> str:
    return re.sub(r"[^\w<>\" :]", lambda match: "\\" + match[0], text)
