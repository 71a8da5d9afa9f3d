"""Tools from end to end: asked, called, answered, and gone on from."""

import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError
from deepen_llm.outputs import Piece
from deepen_llm.tools import KNOWN, Tool, ToolCall
from deepen_llm.tools.calls import CallLog
from tests.laws.test_decoding import ARCHITECTURES, KINDS
from tests.models import small
from tests.structure.documents import PLACES
from tests.tools.chats import Answering, Answers, answering, tokenizer

NUMBER = {"type": "integer"}
ADD = Tool("add", "Add.", {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]})
SAY = Tool("say", "Say.", {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
NOW = Tool("now", "Tell the time.", {"type": "object", "properties": {}})
TOOLS = [ADD, SAY, NOW]
SPECIAL = ["[TOOL_CALLS]", "[ARGS]"]
FORMS = {"hermes": KNOWN[0], "mistral": KNOWN[2], "mistral_args": KNOWN[3], "llama3": KNOWN[4], "plain": KNOWN[0]}
KINDS_OF_CHAT = [
    ("hermes", ()),
    ("mistral", SPECIAL),
    *(("mistral_args", special) for special in ((), SPECIAL)),
    ("llama3", ()),
    ("plain", SPECIAL),
]
CHATS = pytest.mark.parametrize(("template", "special"), KINDS_OF_CHAT, ids=str)
Messages = list[dict[str, Any]]


def user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def written(template: str, *calls: tuple[str, dict[str, Any]]) -> str:
    return FORMS[template].write((name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls)


def saying(answer: str, template: str = "hermes", special: Sequence[str] = ()) -> EnsembleLLM:
    return answering(lambda _: answer, template, special)


def adder(template: str) -> Answers:
    """Calls for a sum, then tells it."""

    def answer(prompt: str) -> str:
        place = prompt.rfind("Result ")
        return f"It is {prompt[place + 7 :][:2]}." if place >= 0 else written(template, ("add", {"a": 1, "b": 20}))

    return answer


@CHATS
def test_there_and_back(template: str, special: Sequence[str]) -> None:
    llm = answering(adder(template), template, special)
    asked = user("1 + 20?")
    out = llm.chat(asked, tools=TOOLS)
    assert (out.text, out.finish_reason) == ("", "eos")
    assert out.tool_calls == (ToolCall("add", {"a": 1, "b": 20}),)
    assert out.parsed is None
    result = {"role": "tool", "tool_call_id": out.tool_calls[0].id, "name": "add", "content": "Result 21"}
    history = [*asked, out.message, result]
    final = llm.chat(history, tools=TOOLS)
    assert (final.text, final.tool_calls, final.finish_reason) == ("It is 21.", (), "eos")
    assert final.message == {"role": "assistant", "content": "It is 21."}
    assert llm.chat(history).text == "It is 21."  # the calls are history; no tools any more
    assert llm.chat(history, tools=TOOLS, tool_choice="none").text == "It is 21."

    assert asyncio.run(llm.achat(history, tools=TOOLS)).text == final.text
    batch = llm.chat([asked, history, user("Hello?")], tools=TOOLS)
    assert [(one.text, one.tool_calls) for one in batch] == [
        ("", out.tool_calls),
        ("It is 21.", ()),
        ("", out.tool_calls),
    ]


@CHATS
def test_streams_bring_calls_beside_the_text(template: str, special: Sequence[str]) -> None:
    answer = ("" if template == "llama3" else "I shall add: ") + written(template, ("add", {"a": 1, "b": 20}))
    llm = saying(answer, template, special)
    stream = llm.stream_chat(user("1 + 20?"), tools=TOOLS)
    pieces = list(stream)
    whole = stream.output
    assert whole is not None
    check_stream(pieces, whole.text, whole.tool_calls)
    assert whole.tool_calls == (ToolCall("add", {"a": 1, "b": 20}),)
    assert whole.text == ("" if template == "llama3" else "I shall add:")
    assert sum(bool(piece.tool_calls) for piece in pieces) > 3  # as they are written

    async def run() -> None:
        found = [piece async for piece in llm.astream_chat(user("1 + 20?"), tools=TOOLS)]
        check_stream(found, whole.text, whole.tool_calls)

    if template.startswith("mistral"):
        asyncio.run(run())


def check_stream(pieces: Sequence[Piece], text: str, calls: Sequence[ToolCall]) -> None:
    assert "".join(pieces) == text
    log = CallLog()
    for piece in pieces:
        assert piece or piece.tool_calls or piece.reasoning
        for delta in piece.tool_calls:
            log.add(delta)
    assert log.whole() == tuple(calls)


@CHATS
def test_several_calls_at_once(template: str, special: Sequence[str]) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("now", {}), ("add", {"a": 1, "b": 2}), ("now", {})]
    llm = saying(written(template, *calls), template, special)
    for choice in ("auto", "any") if special else ("auto",):
        out = llm.chat(user("Do it."), tools=TOOLS, tool_choice=choice, max_new_tokens=200)
        expected = calls[:1] if template == "llama3" else calls
        assert [(call.name, call.arguments) for call in out.tool_calls] == expected
        assert len({call.id for call in out.tool_calls}) == len(expected)
    choice = "auto" if special else "any"
    single = llm.chat(user("Do it."), tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_new_tokens=90)
    assert single.tool_calls == out.tool_calls[:1]
    assert single.text == ""


@CHATS
def test_whom_the_choice_names(template: str, special: Sequence[str]) -> None:
    llm = saying("I would rather talk.", template, special)
    assert llm.chat(user("Hello."), tools=TOOLS).text == "I would rather talk."
    assert llm.chat(user("Hello."), tools=TOOLS, tool_choice="none").text == "I would rather talk."
    for choice, names in (("any" if special else "required", {"add", "say", "now"}), ("say", {"say"})):
        options = {"tool_choice": choice, "temperature": 1.0, "seed": 1, "max_new_tokens": 60}
        out = llm.chat(user("Hello."), tools=TOOLS, **options)
        assert out.text == ""
        assert out.tool_calls
        for call in out.tool_calls:
            assert call.name in names
            check(call, TOOLS)
        assert len(out.tool_calls) == 1 or choice != "say"


def check(call: ToolCall, tools: Sequence[Tool]) -> None:
    (tool,) = [tool for tool in tools if tool.name == call.name]
    Draft202012Validator(dict(tool.arguments)).validate(call.arguments)


PAIRS = [pair for pair in itertools.permutations(KINDS, 2) if pair[0] != "wordpiece"]
EACH_KIND = [pair for i, pair in enumerate(PAIRS) if (i + i // 4) % 2 == 0]  # each main model with two others


@pytest.mark.parametrize("group", range(4))
def test_random_ensembles_of_every_kind_make_a_hundred_valid_calls(group: int) -> None:
    """Thirteen samples each, decoded together."""
    tools = [NOW, Tool("go", "Visit.", PLACES)]
    for seed, pair in list(enumerate(EACH_KIND))[group::4]:
        members = [small(ARCHITECTURES[kind], kind, 100 + seed + place) for place, kind in enumerate(pair)]
        llm = EnsembleLLM(members, fusion="bayes")
        options = {"tool_choice": "any", "temperature": 1.0, "seed": 10 * seed, "n": 13}
        with pytest.raises(ConfigError, match="is too few") as caught:
            llm.chat(user("1?"), tools=tools, max_new_tokens=5, **options)
        least = int(caught.value.message.rpartition(" ")[2])
        for one in llm.chat(user("1?"), tools=tools, max_new_tokens=least + seed, **options).samples:
            assert one.text == ""
            assert one.tool_calls
            for call in one.tool_calls:
                check(call, tools)


@CHATS
def test_what_stands_in_arguments_ends_nothing(template: str, special: Sequence[str]) -> None:
    text = 'a "q" } {x} </tool_call> </s> 🚀東 \\ STOP' + " ".join(() if special else SPECIAL)
    llm = saying(written(template, ("say", {"text": text})), template, special)
    stream = llm.stream_chat(user("Say it."), tools=TOOLS, stop=["STOP", "}", "say"])
    check_stream(list(stream), "", calls := (ToolCall("say", {"text": text}),))
    assert stream.output is not None
    assert (stream.output.tool_calls, stream.output.text, stream.output.finish_reason) == (calls, "", "eos")


def test_stop_strings_end_text_before_a_call() -> None:
    llm = saying("One. Two. " + written("hermes", ("now", {})))
    assert (out := llm.chat(user("?"), tools=TOOLS, stop="Two")).text == "One. "
    assert (out.finish_reason, out.tool_calls) == ("stop", ())
    out = llm.chat(user("?"), tools=TOOLS, stop=". <tool_call>")  # never in the text
    assert (out.text, len(out.tool_calls)) == ("One. Two.", 1)
    half = saying("One <tool_")
    assert half.chat(user("?"), tools=TOOLS).text == "One <tool_"
    out = half.chat(user("?"), tools=TOOLS, stop="<tool")
    assert (out.text, out.finish_reason) == ("One ", "stop")


@pytest.mark.parametrize("template", ["hermes", "llama3", "mistral_args"])
def test_a_structure_beside_tools_holds_the_answers_that_call_none(template: str) -> None:
    class Named(BaseModel):
        name: str
        n: int

    asked = {"tools": TOOLS, "response_format": Named, "max_new_tokens": 60}
    called = saying(written(template, ("now", {})), template).chat(user("?"), **asked)
    assert (called.tool_calls, called.parsed) == ((ToolCall("now", {}),), None)
    for name in ("x", "now") if template == "llama3" else ("now",):
        said = f'{{ "name": "{name}", "n": 3}}'  # without the space it would begin a call of Llama's
        plain = saying(said, template).chat(user("?"), **asked)
        assert (plain.text, plain.tool_calls, plain.parsed) == (said, (), Named(name=name, n=3))
    for wild in saying("Neither nor.", template).chat(user("?"), **asked, temperature=1.0, seed=0, n=3).samples:
        assert wild.tool_calls or isinstance(wild.parsed, Named)
    only = saying('{ "name": "x", "n": 3}', template).chat(user("?"), **asked, tool_choice="now")
    assert (only.tool_calls, only.text) == ((ToolCall("now", {}),), "")


@CHATS
def test_a_call_cut_short_is_of_the_tool_with_the_shortest_one(template: str, special: Sequence[str]) -> None:
    llm = saying("", template, special)

    def least(choice: str) -> int:
        with pytest.raises(ConfigError, match="a short one takes") as told:
            llm.chat(user("?"), tools=TOOLS, tool_choice=choice, max_new_tokens=1)
        return int(re.findall(r"a short one takes (\d+)", str(told.value))[0])

    each = {choice: least(choice) for choice in ("add", "say", "now")}
    assert least("required") == each["now"] < each["say"] < each["add"]


@CHATS
def test_calls_are_whole_within_any_bound(template: str, special: Sequence[str]) -> None:
    llm = saying("Well, " * (template != "llama3") + written(template, ("say", {"text": "🚀" * 40})), template, special)
    for bound in (1, 3, 6, 11, 44):
        out = llm.chat(user("?"), tools=TOOLS, max_new_tokens=bound)
        assert len(out.tokens) <= bound
        assert out.finish_reason in {"length", "eos"}
        assert "�" not in out.text
        for call in out.tool_calls:
            check(call, TOOLS)


ODD = ["auto", "any", 'a"b', "größe", "🚀", "a b", "</tool_call>", "{", "x\ny", "\\"]


TAKING_ODD = ["hermes", "llama3", "mistral_args", "mistral"]


@pytest.mark.parametrize("template", TAKING_ODD)
def test_names_may_be_odd(template: str) -> None:
    """Left to choose, all are decoded together; each name is named with one of the templates."""
    tools = [Tool(name, "Odd.", {"type": "object", "properties": {}}) for name in ODD]
    llm = answering(lambda prompt: written(template, (ODD[asked(prompt)], {})), template, SPECIAL)
    outs = llm.chat([user(f"No. {i}?") for i in range(len(ODD))], tools=tools, max_new_tokens=70)
    assert [[call.name for call in out.tool_calls] for out in outs] == [[name] for name in ODD]
    for i in range(TAKING_ODD.index(template), len(ODD), len(TAKING_ODD)):
        choice = {"type": "function", "function": {"name": ODD[i]}}
        out = llm.chat(user(f"No. {i}?"), tools=tools, tool_choice=choice, max_new_tokens=70)
        assert [call.name for call in out.tool_calls] == [ODD[i]]


def asked(prompt: str) -> int:
    return int(re.findall(r"No\. (\d+)\?", prompt)[-1])


def test_no_tools_are_as_if_none_were_named() -> None:
    llm = saying("Hello.")
    assert llm.chat(user("?"), tools=[]) == llm.chat(user("?"), tools=None) == llm.chat(user("?"))


def test_samples_and_threads_call_apart_from_each_other() -> None:
    llm = saying("Hm.")
    options = {"tools": TOOLS, "tool_choice": "any", "temperature": 1.0, "max_new_tokens": 55}
    out = llm.chat(user("?"), **options, n=4, seed=1)
    assert len({sample.tokens for sample in out.samples}) > 1
    for sample in out.samples:
        for call in sample.tool_calls:
            check(call, TOOLS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: llm.chat(user("?"), **options, seed=seed), range(4)))
    assert found == [llm.chat(user("?"), **options, seed=seed) for seed in range(4)]


def test_special_tokens_stay_out_of_free_text_beside_tools() -> None:
    main = Answering(
        tokenizer("byte_level_bpe", "mistral_args", [*SPECIAL, "[INST]"]), lambda _: "Well [INST] [ARGS]", SPECIAL
    )
    out = EnsembleLLM([main]).chat(user("?"), tools=TOOLS, max_new_tokens=30)
    assert not main.vocabulary.special & set(out.tokens[:-1])
    assert out.text.startswith("Well ")


def test_an_abandoned_stream_of_a_call_leaves_nothing_behind() -> None:
    llm = saying(written("hermes", ("add", {"a": 1, "b": 20})))
    stream = llm.stream_chat(user("?"), tools=TOOLS)
    assert next(stream).tool_calls[0].name == "add"
    stream.close()
    assert stream.output is None
    assert list(stream) == []
    assert len(llm.chat(user("?"), tools=TOOLS).tool_calls) == 1
