"""Conversations with real ensembles: templates that differ, variables, and answers that are begun."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deepen_llm import EnsembleConfig, EnsembleLLM, MemberConfig, Output, specialists
from deepen_llm.cli import app
from deepen_llm.errors import ConfigError, PromptError
from deepen_llm.members.local.loading import load_member
from deepen_llm.members.local.member import LocalMember

SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "What is the capital of France?"}
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
UNTHINKING = "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"


@cache
def loaded(place: int) -> LocalMember:
    return load_member(MemberConfig(path=str(specialists.paths()[place]), device="cpu"))


def member(place: int, before: str = "", behind: str = "", **variables: Any) -> LocalMember:
    """A specialist, with more in its template and variables of its own."""
    model, tokenizer = loaded(place).model, copy.copy(loaded(place).tokenizer)
    tokenizer.chat_template = before + tokenizer.chat_template + behind
    made = LocalMember(model, tokenizer, ("zero", "one", "two")[place])
    made.chat_template_kwargs = variables
    return made


@cache
def strict() -> EnsembleLLM:
    """Case 13: one member's template has no system role."""
    return EnsembleLLM([member(0, NO_SYSTEM), member(1)])


@cache
def thinking() -> EnsembleLLM:
    """Case 16: a template with a variable."""
    return EnsembleLLM([member(0, behind=UNTHINKING), member(1)])


def prompts(llm: EnsembleLLM, **options: Any) -> list[str]:
    """What the members read of a question."""
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for one in llm.members:
            assert isinstance(one, LocalMember)

            def opened(asked: Any, one: LocalMember = one, own: Any = one.open, **given: Any) -> Any:
                seen.extend(one.chat.spelled(prompt.ids) for prompt in asked)
                return own(asked, **given)

            patch.setattr(one, "open", opened)
        llm.chat([ASK], max_new_tokens=1, **options)
    return seen


def test_the_system_s_text_stands_before_the_user_s_where_a_template_has_no_system_role() -> None:
    llm = strict()
    assert llm.chat([SYSTEM, ASK], max_new_tokens=4).text.strip() == "Paris"
    first, second = (one.render([SYSTEM, ASK]) for one in llm.members)
    assert "<|user|> Be brief.\n\nWhat is the capital of France?<|end|>" in first
    assert "System: Be brief." in second
    scores = llm.score_chat([SYSTEM, ASK], [" Paris", " Rome"])
    assert scores[0].total > scores[1].total


def test_the_harness_and_the_command_line_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    from deepen_llm.harness.conversation import Conversation, as_read

    llm = strict()
    for one in llm.members:
        assert isinstance(one, LocalMember)
        assert as_read(one, f"{Conversation([SYSTEM, ASK], True)} Paris") == one.render([SYSTEM, ASK]) + " Paris"
    monkeypatch.setattr(EnsembleLLM, "from_config", lambda config: llm)
    given = ["chat", "--member", str(specialists.paths()[0]), "--system", "Be brief.", "--max-new-tokens", "4"]
    result = CliRunner().invoke(app, given, input="What is the capital of France?\n")
    assert result.exit_code == 0, result.output
    assert "Paris" in result.output


@pytest.mark.parametrize("call", ["chat", "stream_chat", "score_chat"])
def test_variables_reach_the_templates(call: str) -> None:
    llm, given = thinking(), {"enable_thinking": False}
    if call == "score_chat":
        total = llm.score_chat([ASK], " Paris", chat_template_kwargs=given).total
        assert total != llm.score_chat([ASK], " Paris").total
        return
    plain = llm.main_model.encode_chat([ASK]).ids
    options: dict[str, Any] = {"chat_template_kwargs": given, "max_new_tokens": 1}
    output = llm.chat([ASK], **options)
    if call == "stream_chat":
        stream = llm.stream_chat([ASK], **options)
        list(stream)
        assert isinstance(stream.output, Output)
        output = stream.output
    shut = llm.main_model.encode_chat([ASK], variables=given).ids
    assert output.usage.prompt_tokens == len(shut) > len(plain)


async def test_variables_reach_the_templates_asynchronously() -> None:
    output = await thinking().achat([ASK], chat_template_kwargs={"enable_thinking": False}, max_new_tokens=1)
    assert output.usage.prompt_tokens > len(thinking().main_model.encode_chat([ASK]).ids)


def test_a_call_s_variables_go_before_a_member_s_own_and_those_before_the_ensemble_s() -> None:
    shut, two = "<think>\n\n</think>\n\n", [member(0, behind=UNTHINKING), member(1, behind=UNTHINKING)]
    two[0].chat_template_kwargs = {"enable_thinking": False}
    assert [one.endswith(shut) for one in prompts(EnsembleLLM(two))] == [True, False]
    called = {"chat_template_kwargs": {"enable_thinking": True}}
    assert not any(one.endswith(shut) for one in prompts(EnsembleLLM(two), **called))
    standing = EnsembleLLM(two, generation={"chat_template_kwargs": {"enable_thinking": False}})
    assert all(one.endswith(shut) for one in prompts(standing))
    two[0].chat_template_kwargs = {"enable_thinking": True}
    assert [one.endswith(shut) for one in prompts(standing)] == [False, True]
    assert standing.generate("The", max_new_tokens=1).samples  # where no template is put to the prompt


def test_a_member_s_own_variables_hold_wherever_its_template_is_used() -> None:
    shut, one = "<think>\n\n</think>\n\n", member(0, behind=UNTHINKING, enable_thinking=False)
    (read,) = prompts(EnsembleLLM([one]))
    assert one.render([ASK]) == read
    assert read.endswith(shut)
    assert one.encode_chat([ASK]) == one.encode_chat([ASK], variables={"enable_thinking": False})
    assert not one.render([ASK], variables={"enable_thinking": True}).endswith(shut)
    told = one.encode_chat([ASK], variables={"enable_thinking": True})
    assert told == member(0, behind=UNTHINKING).encode_chat([ASK])


def test_a_file_that_sets_a_member_s_variables_changes_that_member_s_prompt(tmp_path: Path) -> None:
    shut, members = "<think>\n\n</think>\n\n", []
    for place in (0, 1):
        one = member(place, behind=UNTHINKING)
        for part in (one.model, one.tokenizer):
            part.save_pretrained(tmp_path / one.name)
        members.append({"path": one.name, "device": "cpu"})
    for told in ({0}, {1}, {0, 1}, set()):
        asked = [
            {**one, "chat_template_kwargs": {"enable_thinking": place not in told}} for place, one in enumerate(members)
        ]
        (tmp_path / "ensemble.yaml").write_text(yaml.safe_dump({"members": asked}))
        llm = EnsembleLLM.from_config(EnsembleConfig.load(tmp_path / "ensemble.yaml"))
        assert [read.endswith(shut) for read in prompts(llm)] == [place in told for place in (0, 1)]


def test_a_file_holds_variables_of_all_members_and_of_one(tmp_path: Path) -> None:
    (tmp_path / "ensemble.yaml").write_text(
        "generation: {chat_template_kwargs: {enable_thinking: false}}\n"
        "members: [{path: one, chat_template_kwargs: {enable_thinking: true, date_string: 1 May}}, two]\n"
    )
    config = EnsembleConfig.load(tmp_path / "ensemble.yaml")
    assert config.generation.chat_template_kwargs == {"enable_thinking": False}
    assert config.members[0].chat_template_kwargs == {"enable_thinking": True, "date_string": "1 May"}
    config.save(tmp_path / "again.yaml")
    again = EnsembleConfig.load(tmp_path / "again.yaml")
    assert again.members[0].chat_template_kwargs == config.members[0].chat_template_kwargs
    assert again.members[1] == config.members[1]
    assert again.generation == config.generation


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "tokenize", "continue_final_message"])
def test_names_that_rendering_sets_itself_are_refused(name: str) -> None:
    for make in (
        lambda given: thinking().chat([ASK], chat_template_kwargs=given),
        lambda given: MemberConfig(path="x", chat_template_kwargs=given),
    ):
        with pytest.raises(ConfigError, match=f"'{name}' is no variable of a chat template's own"):
            make({name: True})


def test_variables_that_nobody_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"reads a variable 'enable_thinkin' .* did you mean 'enable_thinking'"):
        thinking().chat([ASK], chat_template_kwargs={"enable_thinkin": False})
    with pytest.raises(ConfigError, match="the chat template of member one does not read a variable 'thinking'"):
        EnsembleLLM([member(0), member(1, thinking=True)]).chat([ASK])
    for wrong in ("yes", [1], {"x": object()}):
        with pytest.raises(ConfigError, match="chat_template_kwargs"):
            thinking().chat([ASK], chat_template_kwargs=wrong)
    with pytest.raises(ConfigError, match="no chat template renders"):
        thinking().generate("x", chat_template_kwargs={"enable_thinking": False})
    assert thinking().chat([ASK], chat_template_kwargs=None, max_new_tokens=1).samples


@pytest.mark.parametrize("begun", [" The capital is "])
def test_an_answer_that_is_begun_goes_on(begun: str) -> None:
    llm, messages = thinking(), [ASK, {"role": "assistant", "content": begun}]
    output = llm.chat(messages, continue_final_message=True, max_new_tokens=4)
    ends = [one.render(messages, continue_final_message=True) for one in llm.members]
    assert all(end.endswith(begun.lstrip()) for end in ends)
    assert output.usage.prompt_tokens == len(llm.main_model.encode_chat(messages, continue_final_message=True).ids)
    prefixed: list[Any] = [ASK, {**messages[1], "prefix": True}]
    assert llm.chat(prefixed, max_new_tokens=4).text == output.text
    stream = llm.stream_chat(messages, continue_final_message=True, max_new_tokens=4)
    assert "".join(stream) == output.text
    anew = llm.main_model.render(messages)
    assert anew.endswith("<|assistant|>"), "without the option, a new answer is begun"
    assert "prefix" not in llm.main_model.render(prefixed)


def test_a_begun_answer_is_the_beginning_of_the_whole_one() -> None:
    llm = thinking()
    whole = llm.chat([ASK], max_new_tokens=4).text
    for cut in (1, 3):
        open_ = [ASK, {"role": "assistant", "content": whole[:cut]}]
        first, *others = llm.score_chat(open_, [whole[cut:], "xyz"], continue_final_message=True)
        assert all(first.total > other.total for other in others)


def test_what_cannot_go_on_is_refused() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {}}}
    for last in (ASK, {"role": "assistant", "content": "x", "tool_calls": [call]}):
        with pytest.raises(PromptError, match=rf"message 1 \(role '{last['role']}'\) cannot be continued"):
            thinking().chat([ASK, last], continue_final_message=True)
    calls = [{"type": "tool_use", "id": f"call{i}", "name": "add", "input": {}} for i in range(2)]
    results = [{"type": "tool_result", "tool_use_id": f"call{i}", "content": str(i)} for i in range(2)]
    blocks: list[dict[str, Any]] = [ASK, {"role": "assistant", "content": calls}]
    blocks += [{"role": "user", "content": results}, ASK]
    with pytest.raises(PromptError, match=r"message 3 \(role 'user'\) cannot be continued"):
        thinking().chat(blocks, continue_final_message=True)


def test_the_command_line_takes_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def load(config: EnsembleConfig) -> EnsembleLLM:
        seen.append(config.generation.chat_template_kwargs)
        return EnsembleLLM(thinking().members, generation=config.generation)

    monkeypatch.setattr(EnsembleLLM, "from_config", load)
    options = ["chat", "--member", str(specialists.paths()[0]), "--max-new-tokens", "2", "--chat-template-kwargs"]
    said = CliRunner().invoke(app, [*options, json.dumps({"enable_thinking": False})], input="Hello\n")
    assert said.exit_code == 0, said.output
    assert seen == [{"enable_thinking": False}]
    for wrong in ("{", "[1]"):
        assert CliRunner().invoke(app, [*options, wrong], input="Hello\n").exit_code == 2
