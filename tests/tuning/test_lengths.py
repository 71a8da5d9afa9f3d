"""Examples that a member cannot read are told by their line before anything is decoded, or left out."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typer.testing import CliRunner

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.cli import app
from deepen_llm.errors import ConfigError, DatasetError
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.tuning import Tuning
from deepen_llm.tuning.dataset import read_examples
from deepen_llm.tuning.lengths import check_lengths
from deepen_llm.tuning.tune import tune
from tests.models import small
from tests.tuning.test_tune import SPACE, asked, members

LONG = "Ignore this sentence. " * 300
MEMBERS = [part for path in specialists.paths() for part in ("-m", str(path))]


def with_template(template: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model, and a tokenizer of its own with this template."""
    model, tokenizer = small("gpt2", "byte_level_bpe")
    tokenizer = copy.copy(tokenizer)
    tokenizer.chat_template = template
    return model, tokenizer


@pytest.fixture
def forwards() -> Iterator[list[str]]:
    """The members that read anything."""
    seen: list[str] = []
    handles = [
        one.model.register_forward_hook(lambda *_, name=one.name: seen.append(name))  # type: ignore[attr-defined]
        for one in members()
    ]
    yield seen
    for handle in handles:
        handle.remove()


def written(file: Path, *examples: dict[str, Any]) -> Path:
    """A file with an empty line at its head, so that examples are one line further down."""
    file.write_text("\n" + "".join(json.dumps(one) + "\n" for one in examples), encoding="utf-8")
    return file


def too_long(**given: Any) -> dict[str, Any]:
    return {"prompt": f"{LONG}{given}", **given}


CASES = {
    "a prompt": ({"references": ["a"]}, False),
    "a conversation": ({"references": ["a"]}, True),
    "a prompt with choices": ({"choices": [" a", " b"]}, False),
    "a conversation with choices": ({"choices": [" a", " b"]}, True),
}


@pytest.mark.parametrize(("given", "chat"), CASES.values(), ids=CASES)
def test_the_line_the_member_and_its_window_are_named(given: dict[str, Any], chat: bool, tmp_path: Path) -> None:
    short = [{"prompt": f"{number}?", **given} for number in range(3)]
    data = written(tmp_path / "dev.jsonl", *short, too_long(**given), too_long(**given, x=1))
    examples = read_examples(data, chat=chat)
    window = min(one.context_length or 0 for one in members())
    with pytest.raises(DatasetError, match=r"dev\.jsonl, line 5 is too long: .* takes \d+ tokens in member") as caught:
        check_lengths(members(), examples)
    assert f"window holds {window}" in caught.value.message
    assert "1 more are too long: line 6" in caught.value.message
    assert "skip_too_long" in caught.value.hint
    kept = check_lengths(members(), examples, skip_too_long=True)
    assert [one.question_key for one in kept] == [one.question_key for one in examples[:3]]
    assert (kept.positions, kept.left_out) == (("line 2", "line 3", "line 4"), ("line 5", "line 6"))


def narrow() -> Member:
    """A member that reads few tokens."""
    (member,) = EnsembleLLM([small("gpt2", "byte_level_bpe")]).members
    return member


def test_a_right_answer_or_every_choice_needs_room_too() -> None:
    member = narrow()
    window = member.context_length or 0
    prompt, more = "a", "a" * 64
    while len(member.encode_prompt(prompt + more).ids) < window:
        prompt += more
    answers = ["b" * 4 * window, "b"]
    asking = read_examples([{"prompt": prompt, "references": answers}])
    assert check_lengths([member], asking) is asking  # one right answer fits
    for given in ({"references": answers[:1]}, {"choices": answers}):
        with pytest.raises(DatasetError, match="example 1 is too long: prompt and continuation take"):
            check_lengths([member], read_examples([{"prompt": prompt, **given}]))


def test_the_ensemble_s_variables_for_the_templates_count_too() -> None:
    model, tokenizer = with_template("{{ messages[0].content }}{{ date_string or '' }}")
    variables, asking = {"date_string": LONG[:6000]}, [{"prompt": f"{i}?", "references": [f"{i}"]} for i in range(30)]
    llm = EnsembleLLM([(model, tokenizer)] * 2, generation={"chat_template_kwargs": variables})
    examples = read_examples(asking, chat=True)
    assert check_lengths(llm.members, examples) is examples
    with pytest.raises(DatasetError, match="example 1 is too long"):
        check_lengths(llm.members, examples, variables=variables)
    with pytest.raises(DatasetError, match="example 1 is too long"):
        tune(llm, asking, chat=True)


def test_where_all_are_too_long_none_are_left_out() -> None:
    with pytest.raises(DatasetError, match="example 1 is too long"):
        check_lengths([narrow()], read_examples([too_long(references=["a"])]), skip_too_long=True)


def test_what_a_member_cannot_read_at_all_is_told_by_its_line_too() -> None:
    members = EnsembleLLM([with_template(None)]).members
    examples = read_examples([{"prompt": "a", "references": ["b"]}], chat=True)
    with pytest.raises(DatasetError, match=r"dataset, example 1: .*chat template"):
        check_lengths(members, examples, skip_too_long=True)


def test_a_tuning_is_refused_at_its_start_or_goes_on_without(forwards: list[str], tmp_path: Path) -> None:
    data = written(tmp_path / "dev.jsonl", *asked(each=4), too_long(references=["a"]))
    llm = EnsembleLLM(members()[:2], batch_size=60, generation={"max_new_tokens": 2})
    with pytest.raises(DatasetError, match="line 38 is too long"):
        tune(llm, data, chat=True, trials=1)
    assert not forwards
    found = tune(llm, data, chat=True, trials=1, search_space=SPACE, skip_too_long=True)
    assert found.left_out == ("line 38",)
    assert found.record()["left_out"] == ["line 38"]
    assert found.chosen_on + found.estimate.examples == 36
    data = written(tmp_path / "few.jsonl", *asked(each=4)[:29], too_long(references=["a"]))
    with pytest.raises(DatasetError, match="expected at least 30 examples, got 29"):
        tune(llm, data, chat=True, trials=1, skip_too_long=True)


def test_a_standing_variable_that_one_template_reads_holds_while_tuning(tmp_path: Path) -> None:
    atlas, curie, _ = members()
    assert isinstance(atlas, LocalMember)
    tokenizer = copy.copy(atlas.tokenizer)
    tokenizer.chat_template += "{% if thinking %}{{ thinking }}{% endif %}"
    data, parts = written(tmp_path / "dev.jsonl", *asked(each=4)), [LocalMember(atlas.model, tokenizer), curie]

    def tuned(variables: dict[str, Any]) -> Tuning:
        generation = {"max_new_tokens": 2, "chat_template_kwargs": variables}
        llm = EnsembleLLM(parts, batch_size=60, generation=generation)
        return tune(llm, data, chat=True, trials=1, search_space=SPACE)

    found = tuned({"thinking": " Yes."})
    assert len(found.alone) == 2
    assert found.llm.chat([{"role": "user", "content": "Who?"}], max_new_tokens=1).text
    with pytest.raises(DatasetError, match="line 2 is too long"):
        tuned({"thinking": LONG})
    with pytest.raises(ConfigError, match="no member's chat template reads a variable 'think'"):
        tuned({"think": " Yes."})


def test_the_command_line_checks_the_test_set_too(tmp_path: Path) -> None:
    data, out = written(tmp_path / "dev.jsonl", *asked(each=4)), tmp_path / "ensemble.yaml"
    test = written(tmp_path / "test.jsonl", {"prompt": "Hot?", "references": ["cold"]}, too_long(references=["a"]))
    told = ["tune", str(data), *MEMBERS, "--chat", "--trials", "1", "--max-new-tokens", "8", "--test", str(test)]
    refused = CliRunner().invoke(app, [*told, "--out", str(out)])
    assert refused.exit_code == 1
    assert "test.jsonl, line 3 is too long" in refused.stderr
    assert "--skip-too-long" in refused.stderr
    assert not list(tmp_path.glob("ensemble*"))


def test_inspect_names_the_line_too(tmp_path: Path) -> None:
    data = written(tmp_path / "dev.jsonl", too_long(references=["a"]), *asked(each=10))
    refused = CliRunner().invoke(app, ["inspect", "--dataset", str(data)])
    assert refused.exit_code == 1
    assert "line 2 is too long" in refused.stderr
