"""``deepen bench`` measures the user's own members, and tells what was measured also after Ctrl-C."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.cli import app
from deepen_llm.diagnostics.cost import PROMPTS, CostMeasurement
from deepen_llm.diagnostics.floor import forward_seconds, generate_alone
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from tests.cli.processes import Processes
from tests.models import small

MEMBERS = [part for path in specialists.paths() for part in ("--member", str(path))]
QUICK = ["--tokens", "2", "--batch", "2", "--repeats", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.fixture(scope="module")
def llm() -> EnsembleLLM:
    return EnsembleLLM.from_pretrained(specialists.paths(), generation={"logprobs": 2, "n": 2, "temperature": 1.0})


def test_a_table_compares_each_member_and_the_ensemble_with_the_floor() -> None:
    result = run(*MEMBERS, *QUICK)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    named = ["atlas, alone", "curie, alone", "webster, alone", "floor", "ensemble", "with drafts of 4", "a batch of 2"]
    rows = [next(i for i, line in enumerate(lines) if line.startswith(f"│ {name} ")) for name in named]
    assert rows == sorted(rows)
    assert "1.00" in lines[rows[3]]


def test_the_record_has_rates_ratios_and_their_spread() -> None:
    result = run(*MEMBERS, *QUICK, "--repeats", "2", "--draft-tokens", "2", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["members"] == ["atlas", "curie", "webster"]
    assert (record["tokens"], record["batch"], record["repeats"], record["interrupted"]) == (2, 2, 2, False)
    rows = {row["name"]: row for row in record["rows"]}
    assert list(rows) == ["atlas", "curie", "webster", "floor", "ensemble", "with drafts of 2", "a batch of 2"]
    assert [row["kind"] for row in rows.values()] == ["alone"] * 3 + ["floor"] + ["ensemble"] * 3
    for row in rows.values():
        for spread in (row["rate"], row["over_floor"]):
            assert 0 < spread["low"] <= spread["value"] <= spread["high"]
    assert rows["floor"]["over_floor"] == {"value": 1, "low": 1, "high": 1}
    assert rows["a batch of 2"]["tokens"] > rows["ensemble"]["tokens"] > 0


def test_a_configuration_is_measured_with_its_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yaml"
    EnsembleLLM.from_pretrained(specialists.paths(), fusion="bayes", weights=[1, 0, 1], draft_tokens=3).save_config(
        file
    )
    record = json.loads(run("--config", str(file), *QUICK, "--json").stdout)
    names = [row["name"] for row in record["rows"]]
    assert names == ["atlas", "webster", "floor", "ensemble", "with drafts of 3", "a batch of 2"]


def test_a_member_alone_makes_the_tokens_of_transformers_own_greedy_generation(llm: EnsembleLLM) -> None:
    for member in llm.members:
        assert isinstance(member, LocalMember)
        assert generate_alone(member, PROMPTS[0], 5) == 5


def test_the_floor_is_the_sum_of_the_members_forwards(llm: EnsembleLLM) -> None:
    alone = [forward_seconds([member], PROMPTS[0], 4) for member in llm.members]
    together = forward_seconds(llm.members, PROMPTS[0], 4)
    assert all(one > 0 for one in alone)
    assert 0.2 * sum(alone) < together < 5 * sum(alone)  # machines are busy


def test_every_answer_is_greedy_and_single_whatever_the_ensembles_own_options_say(llm: EnsembleLLM) -> None:
    measurement = CostMeasurement(llm, tokens=6, batch=2)
    measurement.run(1)
    expected = [len(llm.generate(one, max_new_tokens=6, temperature=0, n=1).tokens) for one in PROMPTS[:2]]
    made = {cost.name: cost.tokens for cost in measurement.costs}
    assert made["ensemble"] == made["with drafts of 4"] == expected[0]
    assert made["a batch of 2"] == sum(expected)


def test_an_answer_that_ends_early_is_said_to(llm: EnsembleLLM) -> None:
    result = run(
        *MEMBERS, "--tokens", "40", "--batch", "1", "--repeats", "1", "--prompt", "Question: What is 2 + 2?\nAnswer:"
    )
    assert result.exit_code == 0
    assert "ensemble: ended after" in result.stderr
    assert "of 40 tokens" in result.stderr


def test_a_prompt_that_fills_a_context_window_is_an_error() -> None:
    member = LocalMember(*small("llama", "byte_level_bpe"))
    assert member.context_length is not None
    with pytest.raises(ConfigError, match="leave no room in the context window"):
        forward_seconds([member], "word " * member.context_length, 2)


@pytest.mark.parametrize("given", [["--tokens", "0"], ["--batch", "0"], ["--repeats", "0"], ["--draft-tokens", "0"]])
def test_numbers_that_measure_nothing_are_refused(given: list[str]) -> None:
    result = run(*MEMBERS, *given)
    assert result.exit_code == 2
    assert given[0] in result.stderr


def test_without_members_it_says_what_to_give() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--member" in result.stderr
    assert "--config" in result.stderr


def test_a_measurement_that_is_interrupted_keeps_what_it_has(llm: EnsembleLLM) -> None:
    measurement = CostMeasurement(llm, tokens=2, batch=2)

    def interrupt(side: str) -> None:
        if side == "curie, 2 of 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measurement.run(3, interrupt)
    assert len(measurement.costs) == 7
    assert measurement.costs[3].name == "floor"


def test_an_interrupt_shows_what_was_measured_and_exits_with_130(processes: Processes) -> None:
    with processes.start("bench", *MEMBERS, "--tokens", "8", "--repeats", "100000", "--json") as process:
        assert b"Ctrl-C" in process.stderr.readline()
        process.interrupt()
        code, out, _ = process.finish()
    assert code == 130
    assert json.loads(out)["interrupted"]
