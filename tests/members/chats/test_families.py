"""Every history through every family's template: nothing is refused that can be told otherwise, and nothing is lost."""

import copy
from functools import cache
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.members.text.chat import ChatEncoder
from deepen_llm.members.text.encoding import TextEncoder
from deepen_llm.members.transformers_api import takes
from deepen_llm.tools import Tool
from deepen_llm.tools.history import conversation
from deepen_llm.vocabulary import Vocabulary
from tests.members.chats.families import FAMILIES, QWEN
from tests.tokenizers import SMALL, mistral_common

ADD = Tool("add", "Addiert: 天气", {"type": "object", "properties": {"città": {"type": "string"}}})
CALLS = [
    {"id": f"call_{name}aBcDeFgHiJkL", "type": "function", "function": {"name": "add", "arguments": {"a": name}}}
    for name in ("first", "second")
]
RESULTS = [{"role": "tool", "tool_call_id": call["id"], "content": f"{i}-result"} for i, call in enumerate(CALLS)]


def said(text: str) -> list[dict[str, Any]]:
    """Messages in shorthand: a role's letter and a word that no template has."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[one[0]], "content": one[1:]} for one in text.split()]


HISTORIES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "user": (said("ualpha"), ["alpha"]),
    "system": (said("salpha ubeta"), ["alpha", "beta"]),
    "turns": (said("ualpha abeta ugamma"), ["alpha", "beta", "gamma"]),
    "systems": (said("salpha sbeta ugamma"), ["alpha", "beta", "gamma"]),
    "late system": (said("salpha ubeta agamma sdelta uepsilon"), ["beta", "gamma", "delta", "epsilon"]),
    "system last": (said("ualpha sbeta"), ["alpha", "beta"]),
    "system alone": (said("salpha"), ["alpha"]),
    "two users": (said("ualpha ubeta"), ["alpha", "beta"]),
    "two assistants": (said("ualpha abeta agamma udelta"), ["alpha", "beta", "gamma", "delta"]),
    "calls": ([*said("ualpha"), {"role": "assistant", "content": "", "tool_calls": CALLS}, *RESULTS], ["alpha"]),
    "calls, and on": (
        [*said("ualpha"), {"role": "assistant", "content": "", "tool_calls": CALLS}, *RESULTS, *said("abeta ugamma")],
        ["alpha", "beta", "gamma"],
    ),
    "text beside calls": (
        [*said("ualpha"), {"role": "assistant", "content": "beta", "tool_calls": CALLS}, *RESULTS],
        ["alpha", "beta"],
    ),
    "result without its call": ([*said("ualpha"), RESULTS[0], *said("ubeta")], ["alpha", "0-result", "beta"]),
    "empty answer": (said("ualpha a ubeta"), ["alpha", "beta"]),
}


@cache
def known() -> tuple[Vocabulary, TextEncoder]:
    one = SMALL["byte_level_bpe"]()
    vocabulary = Vocabulary.from_tokenizer(one, size=len(one), end_of_text=[one.eos_token_id])
    return vocabulary, TextEncoder(one, vocabulary.special, vocabulary.surfaces)


def encoder(template: Any, name: str = "strict") -> ChatEncoder:
    tokenizer: PreTrainedTokenizerBase = copy.copy(SMALL["byte_level_bpe"]())
    tokenizer.chat_template = template
    return ChatEncoder(name, tokenizer, *known())


def render(template: Any, messages: list[dict[str, Any]], tools: tuple[Tool, ...] = (), **given: Any) -> str:
    return encoder(template).render(conversation(messages), tools, **given)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_of_every_history_is_in_every_prompt_in_its_order(family: str) -> None:
    one = encoder(FAMILIES[family])
    for name, (messages, words) in HISTORIES.items():
        tools = (ADD,) if "calls" in name else ()
        text = one.render(conversation(messages), tools)
        places = [text.find(word) for word in words]
        assert -1 not in places, (name, text)
        if family != "deepseek":  # whose template puts the last system message at the head, wherever it stood
            assert places == sorted(places), (name, text)
        if tools:
            assert text.count("0-result") == text.count("1-result") == 1, (name, text)
            assert '"first"' in text, (name, text)
            assert "天气" in text, (name, text)
            assert "città" in text, (name, text)
        if "system" in name:
            assert "alpha" in text, (name, text)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_template_takes_stays_as_it_writes_it(family: str) -> None:
    one = encoder(FAMILIES[family])
    if family not in {"gemma3", "listed"}:
        plain = said("ualpha abeta ugamma")
        tokenizer = one.template._tokenizer
        assert one.render(conversation(plain), ()) == tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=True
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_an_assistant_that_speaks_first_is_no_obstacle(family: str) -> None:
    for messages in (said("aalpha ubeta"), said("szeta aalpha ubeta")):
        text = render(FAMILIES[family], messages)
        assert text.index("alpha") < text.index("beta")
        assert len(messages) == 2 or "zeta" in text


@pytest.mark.parametrize("family", FAMILIES)
def test_tools_are_told_of_whoever_speaks_first(family: str) -> None:
    empty = [{"role": "system", "content": ""}, *said("ualpha")]
    for messages in (said("aalpha"), said("aalpha ubeta"), empty, RESULTS[:1]):
        assert render(FAMILIES[family], messages, (ADD,)).count("天气") == 1


def test_tools_that_a_template_never_tells_of_are_no_silent_loss() -> None:
    hiding = QWEN.replace("{%- if tools %}", "{%- if tools and messages[0].content == 'Hello.' %}")
    with pytest.raises(PromptError, match="leaves out the tool 'add'"):
        render(hiding, said("ualpha"), (ADD,))


def test_what_is_done_for_each() -> None:
    system = said("sBrief. uHi.")
    assert "<start_of_turn>user\nBrief.\n\nHi.<end_of_turn>" in render(FAMILIES["gemma"], system)
    assert render(FAMILIES["phi3_first"], system) == "<|user|>\nBrief.\n\nHi.<|end|>\n<|assistant|>\n"
    assert "[INST] <<SYS>>\nBrief.\n<</SYS>>\n\nHi. [/INST]" in render(FAMILIES["llama2"], system)
    late = render(FAMILIES["one_system"], said("sOne. uHi. aHo. sTwo. uWell?"))
    assert late == "[system]One.[user]Hi.[assistant]Ho.[user]Two.\n\nWell?[assistant]"
    assert render(FAMILIES["one_system"], said("sOne. sTwo. uHi.")).startswith("[system]One.\n\nTwo.[user]Hi.")
    assert render(FAMILIES["none_empty"], said("uHi. a uHo.")) == "[user]Hi.\n\nHo.[assistant]"
    assert render(FAMILIES["gemma"], said("aHi. uHo.")).startswith(
        "<|end|><start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\nHi."
    )


def test_calls_keep_the_template_s_own_form() -> None:
    history = HISTORIES["text beside calls"][0]
    llama = render(FAMILIES["llama3"], history, (ADD,))
    assert llama.index("beta<|eot_id|>") < llama.index('"parameters": {"a": "first"}}') < llama.index("0-result")
    assert llama.index("0-result") < llama.index('{"a": "second"}') < llama.index("1-result")
    mistral = render(FAMILIES["mistral3"], HISTORIES["calls"][0], (ADD,))
    assert "[TOOL_CALLS]" in mistral
    assert "call_first" not in mistral
    qwen = render(FAMILIES["qwen"], history, (ADD,))
    assert qwen.count("<tool_call>\n{") == 2
    assert "0-result" in qwen


def test_mistral_s_own_tokenizer_takes_histories_that_it_refuses_as_given() -> None:
    tokenizer = mistral_common()
    vocabulary = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[tokenizer.eos_token_id])
    one = ChatEncoder("own", tokenizer, vocabulary, TextEncoder(tokenizer, vocabulary.special, vocabulary.surfaces))
    for name in ("late system", "two users", "text beside calls", "result without its call"):
        messages, words = HISTORIES[name]
        text = one.render(conversation(messages), (ADD,) if "calls" in name else ())
        assert all(word in text for word in words), (name, text)
    opened = one.encode(conversation(said("ualpha aWell,")), (), continue_final_message=True)
    assert one.spelled(opened.ids).endswith("[/INST]Well,")


def test_what_no_form_helps_is_refused_with_its_place_and_the_template_s_words() -> None:
    picky = "{% for m in messages %}{% if 'gamma' in m['content'] %}{{ raise_exception('no gamma') }}{% endif %}"
    picky += "{{ m['content'] }}{% endfor %}"
    with pytest.raises(PromptError, match=r"member strict refuses message 2 \(role 'user'\).*: no gamma"):
        render(picky, said("ualpha abeta ugamma adelta uepsilon"))
    forgetful = "{{ messages[-1]['content'] }}"
    with pytest.raises(PromptError, match=r"leaves out what message 0 \(role 'user'\) says"):
        render(forgetful, said("ualpha abeta ugamma"))
    assert render(forgetful, said("salpha ugamma")) == "alpha\n\ngamma"


def test_roles_that_no_template_knows_are_refused_and_others_have_one_name() -> None:
    with pytest.raises(PromptError, match=r"message 1 \(role 'narrator'\) has a role that the chat template of member"):
        render(FAMILIES["chatml"], [*said("ualpha"), {"role": "narrator", "content": "beta"}])
    knows = FAMILIES["chatml"] + "{# 'narrator' #}"  # type: ignore[operator]
    assert "narrator\nbeta" in render(knows, [*said("ualpha"), {"role": "narrator", "content": "beta"}])
    for given, plain in {"developer": "system", "human": "user", "ai": "assistant", "model": "assistant"}.items():
        assert f"<|im_start|>{plain}\nbeta" in render(FAMILIES["chatml"], [{"role": given, "content": "beta"}])


def test_a_refused_message_has_its_index_in_the_callers_list() -> None:
    """Also behind a message whose blocks become several messages."""
    calls = [{"type": "tool_use", "id": f"call{i}", "name": "add", "input": {}} for i in range(2)]
    results = [{"type": "tool_result", "tool_use_id": f"call{i}", "content": str(i)} for i in range(2)]
    messages = [*said("ualpha"), {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    assert len(conversation(messages)) > len(messages)
    with pytest.raises(PromptError, match=r"message 3 \(role 'narrator'\) has a role"):
        render(FAMILIES["chatml"], [*messages, {"role": "narrator", "content": "beta"}])


def test_variables_reach_the_template_and_nothing_else_does() -> None:
    shut = "<think>\n\n</think>\n\n"
    assert render(FAMILIES["qwen"], said("uHi."), variables={"enable_thinking": False}).endswith(shut)
    assert not render(FAMILIES["qwen"], said("uHi."), variables={"enable_thinking": True}).endswith(shut)
    assert "Today Date: 1 May 2025" in render(FAMILIES["llama3"], said("uHi."), variables={"date_string": "1 May 2025"})
    assert encoder(FAMILIES["qwen"]).template.reads("enable_thinking")
    assert not encoder(FAMILIES["llama3"]).template.reads("enable_thinking")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("begun", ["Well, the answer is", "The answer is  ", '{"a": [1,\n'])
def test_all_prompts_end_with_the_text_that_goes_on(family: str, begun: str) -> None:
    messages = [*said("salpha ubeta"), {"role": "assistant", "content": begun}]
    text = render(FAMILIES[family], messages, continue_final_message=True)
    assert text.endswith(begun)
    assert text.count(begun) == 1
    assert "alpha" in text
    assert "<think>" not in text


@pytest.mark.parametrize("begun", ["<think>\n\n</think>\n\nWell", "<think>\nHm", "\n so", " "])
@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_and_spaces_at_the_head_of_a_begun_answer_stay(family: str, begun: str) -> None:
    one, messages = encoder(FAMILIES[family]), [*said("ualpha"), {"role": "assistant", "content": begun}]
    text = one.render(conversation(messages), (), continue_final_message=True)
    assert text.endswith(begun)
    assert text.count("<think>") == begun.count("<think>")
    assert one.spelled(one.encode(conversation(messages), (), continue_final_message=True).ids) == text


def test_a_text_goes_on_behind_templates_that_want_the_user_last() -> None:
    last = "{% if messages[-1]['role'] != 'user' %}{{ raise_exception('the user is last') }}{% endif %}"
    open_ = [*said("ualpha"), {"role": "assistant", "content": "Well, "}]
    template = last + FAMILIES["chatml"]  # type: ignore[operator]
    assert render(template, open_, continue_final_message=True).endswith("<|im_start|>assistant\nWell, ")
    with pytest.raises(PromptError, match=r"message 1 \(role 'assistant'\).*the user is last"):
        render(template, open_)


def test_templates_that_cannot_be_used_say_so() -> None:
    for broken, why in (
        ({"rag": "x"}, "multiple chat templates"),
        ("{{ messages", "unexpected|expected"),
        (None, "has no"),
    ):
        with pytest.raises(PromptError, match=why) as caught:
            render(broken, said("ualpha"))
        assert "message 0" not in str(caught.value)


def test_templates_that_refuse_strings_read_parts() -> None:
    parts = "{% for m in messages %}{% if m['content'] is string %}{{ raise_exception('a list') }}{% endif %}"
    parts += "[{{ m['role'] }}]{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}[assistant]"
    one = encoder(parts)
    assert one.render(conversation(said("salpha ubeta")), ()) == "[system]alpha[user]beta[assistant]"
    if takes(PreTrainedTokenizerBase.apply_chat_template, "sanitize_control_tokens"):  # before, it is refused
        spelled = one.encode(conversation([{"role": "user", "content": "a <|end|> b"}]), ())
        assert one.spelled(spelled.ids) == "[user]a <|end|> b[assistant]"
        assert known()[0].end_of_text[0] not in spelled.ids


def test_special_tokens_in_a_text_that_goes_on_stay_plain() -> None:
    one, end = encoder(FAMILIES["chatml"]), known()[0].end_of_text[0]
    if not takes(PreTrainedTokenizerBase.apply_chat_template, "sanitize_control_tokens"):
        pytest.skip("this version of transformers obeys them")
    open_ = conversation([*said("ualpha"), {"role": "assistant", "content": "Say <|end|> so"}])
    ids = one.encode(open_, (), continue_final_message=True).ids
    assert end not in ids
    assert one.spelled(ids).endswith("assistant\nSay <|end|> so")
