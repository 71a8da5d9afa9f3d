"""Where an answer stops: strings, special tokens that a string spells, ids; in every way of asking."""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from langchain_deepen import ChatDeepen
from langchain_deepen import DeepenLLM as LangChainLLM
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.deepen import DeepenLLM as LlamaIndexLLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.cli import app
from deepen_llm.cli.values import unescaped
from deepen_llm.engine.text import TextAssembler
from deepen_llm.errors import ConfigError
from deepen_llm.testing import scripted
from tests.structure.documents import Place
from tests.tokenizers import byte_level_bpe, sentencepiece_bpe
from tests.tools.test_calls import CHATS, FORMS, TOOLS, saying, user, written

QUESTION = [{"role": "user", "content": "What is the opposite of hot?"}]
PROMPT = "The quick brown fox"
ANSWER = " jumps over<s> the dog<s>\nand the fox<s> is there"  # as this tokenizer reads it, <s> is a special token


def load(i: int) -> Any:
    path = specialists.paths()[i]
    return AutoModelForCausalLM.from_pretrained(path, dtype="float32"), AutoTokenizer.from_pretrained(path)


@cache
def unended(others: int) -> EnsembleLLM:
    """A chat model whose checkpoint does not name its end-of-turn token as an end; perhaps others beside it."""
    model, tokenizer = load(2)
    tokenizer.eos_token = "<|endoftext|>"
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
    return EnsembleLLM([(model, tokenizer), *map(load, range(others))])


@cache
def speaking(others: int = 1) -> EnsembleLLM:
    plain = ANSWER.replace("<s>", "")
    return EnsembleLLM(
        [scripted(sentencepiece_bpe(), PROMPT, ANSWER), *[scripted(byte_level_bpe(), PROMPT, plain)] * others],
        weights=[0.9, *[0.1 / others] * others] if others else None,
    )


@pytest.mark.parametrize("others", [0, 1])
def test_a_stop_string_that_spells_a_special_token_stops_there(others: int) -> None:
    llm = unended(others)
    end = llm.members[0].tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[attr-defined]
    assert "user:" in llm.chat(QUESTION, max_new_tokens=12).text
    for options in ({"stop": ["<|im_end|>"]}, {"stop": ("x", "<|im_end|>")}, {"stop_token_ids": end}):
        out = llm.chat(QUESTION, max_new_tokens=40, **options)
        assert (out.text, out.finish_reason, out.tokens[-1]) == (" Cold", "stop", end)
        stream = llm.stream_chat(QUESTION, max_new_tokens=40, **options)
        assert "".join(stream) == " Cold"
        assert stream.output == out
        assert asyncio.run(llm.achat(QUESTION, max_new_tokens=40, **options)) == out
    around = llm.chat(QUESTION, max_new_tokens=40, stop="d<|im_end|>")
    assert (around.text, around.finish_reason) == (" Col", "stop")


def test_the_integrations_stop_at_special_tokens_too() -> None:
    llm = unended(1)
    chat = ChatDeepen(ensemble=llm, max_new_tokens=40, stop=["<|im_end|>"])
    answer = chat.invoke("What is the opposite of hot?")
    assert (answer.text, answer.response_metadata["finish_reason"]) == (" Cold", "stop")
    assert "".join(piece.text for piece in chat.stream("What is the opposite of hot?")) == " Cold"
    asked = LlamaIndexLLM(ensemble=llm, max_new_tokens=40, stop="<|im_end|>").chat(
        [ChatMessage(QUESTION[0]["content"])]
    )
    assert asked.message.content == " Cold"
    end = llm.members[0].tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[attr-defined]
    for made in (LangChainLLM(ensemble=speaking(), stop_token_ids=1), LangChainLLM(ensemble=speaking(), stop="<s>")):
        assert made.invoke(PROMPT) == " jumps over"
    assert (
        ChatDeepen(ensemble=llm, max_new_tokens=40)
        .bind(stop_token_ids=[end])
        .invoke("What is the opposite of hot?")
        .text
        == " Cold"
    )
    one = LlamaIndexLLM(ensemble=speaking(), stop_token_ids=1, is_chat_model=False)
    assert one.complete(PROMPT).text == " jumps over"


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("<s>", " jumps over"),
        (["</s>", "<s>"], " jumps over"),
        ("dog<s>", " jumps over the "),
        ("<s>\n", " jumps over the dog"),
        ("<s>\nand", " jumps over the dog"),
        ("g<s>\nan", " jumps over the do"),
        ("q<s>", ANSWER.replace("<s>", "")),
        ("<s><s>", ANSWER.replace("<s>", "")),
        (["over<s> the", "s over<s>"], " jump"),
        (["r<s>", "<s>"], " jumps ove"),
        ("s>", ANSWER.replace("<s>", "")),
        ("over the", " jumps "),
        (["over the", "q<s>"], " jumps "),
        (["o</s>ver", "ver<s> th", "the"], " jumps o"),
        (["</s>", "er the dog"], " jumps ov"),
    ],
)
def test_special_tokens_are_matched_whole_and_in_their_place(stop: Any, text: str) -> None:
    for llm in (speaking(0), speaking(1)):
        stream = llm.stream(PROMPT, stop=stop)
        pieces = list(stream)
        assert "".join(pieces) == text
        assert stream.output is not None
        assert stream.output.finish_reason == ("eos" if text == ANSWER.replace("<s>", "") else "stop")
        for out in llm.generate([PROMPT] * 2, stop=stop, n=2):
            assert out.samples == stream.output.samples * 2


def test_the_same_characters_in_ordinary_tokens_stop_as_well() -> None:
    llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, " jumps</s> on")])
    assert llm.generate(PROMPT, stop="</s>").text == " jumps"


def test_another_members_special_token_is_text() -> None:
    """The main model has no <|end|>: only its characters stop."""
    llm = EnsembleLLM([scripted(sentencepiece_bpe(), PROMPT, " jumps<|end|> on"), load(0)], weights=[0.9, 0.1])
    assert llm.generate(PROMPT, stop="<|end|>").text == " jumps"


def test_ids_stop_before_ordinary_tokens_too() -> None:
    llm = speaking(1)
    whole = llm.generate(PROMPT)
    for place, id_ in enumerate(whole.tokens[:6]):
        out = llm.generate(PROMPT, stop_token_ids={id_})
        assert out.finish_reason == "stop"
        assert out.tokens == whole.tokens[: whole.tokens.index(id_) + 1]
        assert whole.text.startswith(out.text)
        assert len(out.text) < len(whole.text), place
    drafted = EnsembleLLM(llm.members, weights=[0.9, 0.1], draft_tokens=4)
    assert drafted.generate(PROMPT, stop="<s>\n").text == " jumps over the dog"


@pytest.mark.parametrize("others", [0, 1])
def test_an_answer_that_may_call_tools_stops_where_one_without_tools_does(others: int) -> None:
    llm = unended(others)
    end = llm.members[0].tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[attr-defined]
    for options in ({"stop": "<|im_end|>"}, {"stop_token_ids": end}, {"stop": ["x", "d<|im_end|>"]}):
        out = llm.chat(QUESTION, max_new_tokens=40, tools=TOOLS, **options)
        plain = llm.chat(QUESTION, max_new_tokens=40, **options)
        assert (out.text, out.finish_reason, out.tokens) == (plain.text, "stop", plain.tokens)
        stream = llm.stream_chat(QUESTION, max_new_tokens=40, tools=TOOLS, **options)
        assert "".join(stream) == out.text
        assert stream.output == out


STOP = "<|stop|>"


def stopping(answer: str, template: str, special: Sequence[str]) -> tuple[EnsembleLLM, int]:
    """An ensemble that gives this answer, its last special token one that no format has, and that token's id."""
    llm = saying(answer, template, (*special, STOP))
    return llm, llm.main_model.tokenizer.convert_tokens_to_ids(STOP)  # type: ignore[attr-defined]


@CHATS
def test_a_special_token_stops_free_text_in_every_format_of_calls(template: str, special: Sequence[str]) -> None:
    llm, id_ = stopping(f"Well, {STOP}I say.{STOP} Or not.", template, special)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"stop": STOP}, "Well, "),
        ({"stop_token_ids": id_}, "Well, "),
        ({"stop": f", {STOP}"}, "Well"),
        ({"stop": f"y.{STOP}"}, "Well, I sa"),
        ({"stop": f"{STOP} Or"}, "Well, I say."),
        ({"stop": f"{STOP}{STOP}"}, "Well, I say. Or not."),
    ]
    for place, (stop, text) in enumerate(cases):
        stream = llm.stream_chat(user("Well?"), tools=TOOLS, **stop)
        assert "".join(stream) == text
        assert stream.output is not None
        out = stream.output
        assert (out.text, out.finish_reason) == (text, "eos" if text.endswith("not.") else "stop")
        if place % 2 == bool(special):
            plain = llm.chat(user("Well?"), **stop)
            assert (plain.text, plain.finish_reason, plain.tokens) == (text, out.finish_reason, out.tokens)


@CHATS
def test_nothing_stops_within_a_call(template: str, special: Sequence[str]) -> None:
    call = ("add", {"a": 1, "b": 20})
    llm, id_ = stopping(written(template, call), template, special)
    tokens = llm.chat(user("1 + 20?"), tools=TOOLS).tokens
    spelled = [llm.main_model.vocabulary.surfaces[one] or FORMS[template].trigger.encode() for one in tokens]
    begun = next(i for i in range(len(tokens)) if FORMS[template].trigger.encode() in b"".join(spelled[: i + 1]))
    inside = {*tokens[begun + 1 : -1], id_}.difference(tokens[: begun + 1])
    assert len(inside) > 4
    out = llm.chat(user("1 + 20?"), tools=TOOLS, stop_token_ids=inside, stop=[STOP, "add", "[ARGS]", "20"])
    assert ([(one.name, one.arguments) for one in out.tool_calls], out.text) == ([call], "")


@CHATS
def test_a_call_may_come_behind_a_special_token_that_stops_nothing(template: str, special: Sequence[str]) -> None:
    llm, _ = stopping(f"Well{STOP} then: {written(template, ('add', {'a': 1, 'b': 20}))}", template, special)
    out = llm.chat(user("1 + 20?"), tools=TOOLS, stop=f"q{STOP}")
    if template == "llama3":  # where a call is the whole answer
        assert (out.text, out.tool_calls) == (f"Well then: {written(template, ('add', {'a': 1, 'b': 20}))}", ())
    else:
        assert (out.text, [one.arguments for one in out.tool_calls]) == ("Well then:", [{"a": 1, "b": 20}])


def test_the_integrations_stop_beside_tools_too() -> None:
    llm, question = unended(1), QUESTION[0]["content"]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    chat = ChatDeepen(ensemble=llm, max_new_tokens=40, stop=["<|im_end|>"]).bind_tools([tool])
    answer = chat.invoke(question)
    assert (answer.text, answer.response_metadata["finish_reason"]) == (" Cold", "stop")
    assert "".join(piece.text for piece in chat.stream(question)) == " Cold"
    asked = LlamaIndexLLM(ensemble=llm, max_new_tokens=40, stop="<|im_end|>")
    looking = FunctionTool.from_defaults(lambda: "", name="look", description="Look.")
    assert asked.chat_with_tools([looking], question).message.content == " Cold"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_token_ids": [10_000]}, r"stop_token_ids=\[10000\]: the main model has no token 10000"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids"),
        ({"stop": [""]}, "a stop string must not be empty"),
        ({"stop": [3]}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stop_token_ids": 1, "response_format": Place}, r"stop_token_ids=\(1,\) would cut a structured answer"),
    ],
)
def test_what_cannot_stop_an_answer_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        speaking().generate(PROMPT, **options)


def test_standing_stops_cut_no_structure() -> None:
    llm = EnsembleLLM(speaking().members, generation={"stop_token_ids": [1], "stop": ["<s>"]})
    assert isinstance(llm.generate(PROMPT, response_format=Place, max_new_tokens=60).parsed, Place)
    assert llm.generate(PROMPT).finish_reason == "stop"


@pytest.mark.parametrize("stop", [[], (), None, set()])
def test_nothing_stops_where_nothing_is_given(stop: Any) -> None:
    assert speaking(0).generate(PROMPT, stop=stop, stop_token_ids=None).finish_reason == "eos"


@pytest.mark.parametrize("stop", [["\r\n"], ["ß狗"], ["\n", " \r"], ["  "], ["\r\n\r\n", "\n\r"]])
def test_strings_stop_whatever_the_tokens_are(stop: list[str]) -> None:
    text = "a Gruß狗  b\r\nc \r\n\r\nd"
    ends = [(text.index(one) + len(one), text.index(one)) for one in stop if one in text]
    for size in (1, 2, 3, 5, 40):
        assembler, shown = TextAssembler(stop), ""
        data = text.encode()
        for place in range(0, len(data), size):
            if not assembler.stopped:
                assembler.feed(data[place : place + size])
                shown += assembler.release()
        assert shown == assembler.text == text[: min(ends)[1]]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"\n", "\n"),
        (r"\\n", r"\n"),
        (r"a\tb\r\n", "a\tb\r\n"),
        (r"\x41\u00e9", "Aé"),
        (r"\d\\", "\\d\\"),
        (r"\"", '"'),
    ],
)
def test_escapes_on_the_command_line_are_characters(typed: str, meant: str) -> None:
    assert unescaped(typed) == meant


def test_the_command_line_stops_at_line_breaks_special_tokens_and_ids(tmp_path: Path) -> None:
    for part in (unended(0).members[0].model, unended(0).members[0].tokenizer):  # type: ignore[attr-defined]
        part.save_pretrained(tmp_path)
    asked = ["chat", "--member", str(tmp_path), "--max-new-tokens", "12"]
    for option, stop, stops in (
        ("--stop", r"\n", True),
        ("--stop", "<|im_end|>", True),
        ("--stop-token-id", "3", True),
        ("--stop", r"\\n", False),
    ):
        said = CliRunner().invoke(app, [*asked, option, stop], input=QUESTION[0]["content"])
        assert said.exit_code == 0, said.output
        assert ("user:" in said.stdout) != stops
        assert not stops or "Cold" in said.stdout
    assert r"\n" in CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "200"}).stdout
