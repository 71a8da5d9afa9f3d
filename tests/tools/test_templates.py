"""Chat templates of every kind: how their calls are written, and that all of them can tell of tools."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from deepen_llm.tools import Tool, Toolbox, ToolCall
from deepen_llm.tools.messages import normalized
from tests.models import random_model
from tests.tokenizers import folder_with, mistral_common
from tests.tools.chats import TEMPLATES, Answering, answering, tokenizer

ADD = Tool("add", "Add numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"a": 417}}}
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "abcdefghi", "name": "add", "content": "It is 418."},
]


def member(known: PreTrainedTokenizerBase) -> LocalMember:
    return LocalMember(random_model("llama", len(known), known.eos_token_id), known)


def mistral_v3() -> PreTrainedTokenizerBase:
    from transformers.tokenization_mistral_common import MistralCommonBackend

    return MistralCommonBackend.from_pretrained(
        folder_with("mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model.v3")
    )


@pytest.mark.parametrize("special", [[], ["[TOOL_CALLS]", "[ARGS]", "<|im_start|>", "<|im_end|>", "[INST]"]], ids=str)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_templates_own_format_is_found(template: str, special: list[str]) -> None:
    found = member(tokenizer("byte_level_bpe", template, special)).chat.own_format
    assert (found.name if found else None) == (None if template in {"plain", "strict"} else template)


def test_mistral_s_own_tokenizers_write_calls_their_way() -> None:
    for known, name in ((mistral_common(), {"mistral", "mistral_args"}), (mistral_v3(), {"mistral"})):
        found = member(known).chat.own_format
        assert found is not None
        assert found.name in name


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_prompt_tells_of_tools_calls_and_results(template: str) -> None:
    one = member(tokenizer("byte_level_bpe", template))
    prompt = one.chat.spelled(one.encode_chat([normalized(message) for message in HISTORY], [ADD]).ids)
    assert "Add numbers." in prompt
    assert "417" in prompt
    assert "It is 418." in prompt
    bare = one.chat.spelled(one.encode_chat([normalized(message) for message in HISTORY]).ids)
    assert "Add numbers." not in bare
    assert "It is 418." in bare


def test_mistral_s_own_tokenizers_tell_them_too() -> None:
    for known in (mistral_common(), mistral_v3()):
        one = member(known)
        prompt = one.chat.spelled(one.encode_chat([normalized(message) for message in HISTORY], [ADD]).ids)
        for told in ("Add numbers.", "417", "It is 418."):
            assert told in prompt


def test_what_a_template_has_no_role_for_stands_in_the_user_s_message() -> None:
    one = member(tokenizer("byte_level_bpe", "strict"))
    told = one.render([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
    assert told == "user\nx\n\ny\nassistant\n"
    results = [*HISTORY, {"role": "tool", "tool_call_id": "abcdefghi", "content": "And 419."}]
    prompt = one.chat.spelled(one.encode_chat([normalized(message) for message in results], [ADD]).ids)
    assert "And 419." in prompt  # in one user message


def test_all_members_hear_of_the_tools() -> None:
    llm = answering(lambda _: "Hello.", "mistral_args", ["[TOOL_CALLS]", "[ARGS]"], other="strict")
    llm.chat([{"role": "user", "content": "Hi."}], tools=[ADD])
    for one in llm.members:
        assert isinstance(one, Answering)
        assert '"name": "add"' in one.prompts[0]


REASONING: dict[str, Any] = {
    "start_anchor": "<|im_start|>assistant\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>"},
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"content": "text"},
    },
}


def reasoning(answer: str, template: str = "hermes") -> EnsembleLLM:
    known = tokenizer("byte_level_bpe", template)
    known.response_template = REASONING
    if not hasattr(known, "get_response_parser"):
        pytest.skip("this version of transformers reads no responses")
    main = Answering(known, lambda _: answer)
    return EnsembleLLM([main, Answering(tokenizer("sentencepiece_bpe", "plain"), lambda _: answer)], fusion="bayes")


ASK = [{"role": "user", "content": "Hi."}]


def test_reasoning_is_told_from_the_answer() -> None:
    llm = reasoning("<think>Hm, hm.</think>Hello.")
    for options in ({}, {"tools": [ADD]}):
        out = llm.chat(ASK, **options)
        assert (out.reasoning.strip(), out.text.strip(), out.tool_calls) == ("Hm, hm.", "Hello.", ())
        stream = llm.stream_chat(ASK, **options)
        pieces = list(stream)
        assert "".join(pieces) == out.text
        assert "".join(piece.reasoning for piece in pieces) == out.reasoning
        assert stream.output == out


def test_calls_are_read_by_the_response_template() -> None:
    llm = reasoning('<think>Hm.</think><tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>')
    out = llm.chat(ASK, tools=[ADD])
    assert out.reasoning.strip() == "Hm."
    assert out.tool_calls == (ToolCall("add", {"a": 3}),)
    stream = llm.stream_chat(ASK, tools=[ADD])
    assert sum(len(piece.tool_calls) for piece in stream) == 1
    assert stream.output is not None
    assert stream.output.tool_calls == out.tool_calls


def test_a_structure_beside_a_response_template_is_the_text() -> None:
    opened = TEMPLATES["hermes"].replace("assistant\n{% endif", "assistant\n<think>{% endif")  # thoughts begun for it
    assert opened != TEMPLATES["hermes"]
    for template in ("hermes", opened):
        llm = reasoning("[1]", template)
        out = llm.chat(ASK, response_format=list[int], max_new_tokens=30)
        assert isinstance(out.parsed, list)
        assert out.text
        called = llm.chat(ASK, tools=[ADD], tool_choice="any", max_new_tokens=200)
        assert called.tool_calls


def test_an_answer_that_is_begun_goes_on_behind_a_response_template() -> None:
    llm = reasoning("Well, hello.")
    out = llm.chat([*ASK, {"role": "assistant", "content": "Well, "}], continue_final_message=True)
    assert out.text == "hello."


def test_malformed_calls_that_nobody_asked_for_are_no_crash() -> None:
    out = reasoning("Well <tool_call>\nno JSON\n</tool_call> so.").chat(ASK)
    assert out.text.startswith("Well")
    assert out.tool_calls == ()


def test_readers_only_where_there_is_something_to_read() -> None:
    one = member(tokenizer("byte_level_bpe", "hermes"))
    prompt = one.encode_chat(ASK)
    assert one.reader(prompt, None) is None
    assert one.reader(prompt, Toolbox.of([ADD])) is not None
