"""Reading is writing backwards, in whatever pieces an answer comes."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepen_llm.tools import KNOWN, CallDelta, ToolFormat
from deepen_llm.tools.calls import CallLog, new_id
from deepen_llm.tools.formats import HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS
from deepen_llm.tools.reader import AnswerText, CallReader

NAMES = ("add", "add_2", "größe", 'a"b', "{x}", "auto", "[ARGS]")
AWKWARD = [
    "</tool_call>",
    "<tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    '{"name": "add", "arguments": {}}',
    "}{",
    '"',
    "\\",
    "🚀",
    "\n",
]
STRINGS = st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
VALUES = st.recursive(
    st.one_of(STRINGS, st.integers(), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(STRINGS, inner, max_size=2)),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(STRINGS, VALUES, max_size=3)
CALLS = st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), min_size=1, max_size=3)
FORMATS = pytest.mark.parametrize("form", KNOWN, ids=lambda form: form.name + form.opening)


def read(form: ToolFormat, names: Sequence[str], pieces: Sequence[str]) -> tuple[str, list[CallDelta]]:
    """The text and the deltas."""
    reader = CallReader(form, names)
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.finish()
    text = "".join(event.text for event in events if isinstance(event, AnswerText))
    return text, [event for event in events if isinstance(event, CallDelta)]


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(ends)]


@FORMATS
@given(calls=CALLS, before=STRINGS, places=st.lists(st.integers(0, 500), max_size=30), compact=st.booleans())
@settings(max_examples=120, deadline=None)
def test_what_is_written_is_read(
    form: ToolFormat, calls: list[tuple[str, dict[str, object]]], before: str, places: list[int], compact: bool
) -> None:
    calls, before = (calls[:1], "") if form.alone else (calls, before)
    if form.trigger in before or "[TOOL_CALLS]" in before or "<tool_call>" in before:
        before = ""  # the grammar allows none
    layout = {"separators": (",", ":")} if compact else {"indent": 1}
    written = [(name, json.dumps(arguments, ensure_ascii=compact, **layout)) for name, arguments in calls]
    answer = before + form.write(iter(written))
    text, deltas = read(form, NAMES, cut(answer, places))
    assert text == before.rstrip()
    log = CallLog()
    for delta in deltas:
        log.add(delta)
    assert [(call.name, call.arguments) for call in log.whole()] == calls
    for index, (name, arguments) in enumerate(written):
        own = [delta for delta in deltas if delta.index == index]
        assert (own[0].name, own[0].arguments) == (name, "")
        assert own[0].id
        assert all(delta.name is None and delta.id is None for delta in own[1:])
        assert "".join(delta.arguments for delta in own) == arguments


@FORMATS
@given(
    pieces=st.lists(st.one_of(st.sampled_from([*AWKWARD, "<tool", "_call>", "[TOOL", '{"na', 'me": "', " "]), STRINGS))
)
@settings(max_examples=150, deadline=None)
def test_what_is_no_call_comes_through_unchanged(form: ToolFormat, pieces: list[str]) -> None:
    answer = "".join(pieces)
    heads = [form.opening + form.head(name) for name in NAMES]
    if any(head in answer for head in heads):
        return
    assert read(form, NAMES, pieces) == (answer, [])


@FORMATS
def test_text_is_given_out_as_soon_as_it_can_be_no_call(form: ToolFormat) -> None:
    reader = CallReader(form, ["add"])
    assert reader.feed("Hello") == [AnswerText("Hello")]
    assert reader.feed(" ") == []
    assert reader.feed("you <") == [AnswerText(" you <" if not (form.opening + form.begin).startswith("<") else " you")]


def test_only_the_space_before_a_call_is_lost() -> None:
    call = HERMES.write(iter([("add", "{}")]))
    assert read(HERMES, ["add"], [" I call: \n\n", call])[0] == " I call:"
    assert read(HERMES, ["add"], ["\n", call])[0] == ""
    assert read(HERMES, ["add"], ["\n Hello \n"])[0] == "\n Hello \n"


def test_a_call_of_llama_s_is_the_whole_answer() -> None:
    call = LLAMA3.write(iter([("add", '{"a": 1}')]))
    assert read(LLAMA3, ["add"], [" ", call])[1][0].name == "add"
    assert read(LLAMA3, ["add"], ["So: " + call]) == ("So: " + call, [])
    assert read(LLAMA3, ["add"], ['{"name": "subtract"}']) == ('{"name": "subtract"}', [])


def test_formats_write_what_models_have_read() -> None:
    two = [("add", '{"a": 1}'), ("b", "{}")]
    assert HERMES.write(iter(two)) == (
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>'
    )
    assert MISTRAL.write(iter(two)) == (
        '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "b", "arguments": {}}]'
    )
    assert MISTRAL_ARGS.write(iter(two)) == '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]b[ARGS]{}'
    assert replace(HERMES, name="x").head('q"') == '<tool_call>\n{"name": "q\\"", "arguments": '


def test_ids_are_such_as_every_template_takes() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id_) == 9 and id_.isalnum() and id_.isascii() for id_ in ids)
