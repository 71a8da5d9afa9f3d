"""Commands run small models on one thread; the library leaves the number of threads alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.cli import app
from deepen_llm.cli.threads import SMALL, run_small_on_one_thread
from deepen_llm.harness import DeepenLM
from deepen_llm.members.base import Member
from tests.models import small

PATHS = [str(path) for path in specialists.paths()]
MEMBERS = [part for path in PATHS for part in ("--member", path)]


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def two() -> tuple[Member, ...]:
    return EnsembleLLM([small("llama", "byte_level_bpe"), small("gpt2", "sentencepiece_bpe")]).members


def test_subprocesses_of_tests_run_on_one_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_small_members_run_on_one_thread_unless_the_environment_says_otherwise(
    two: tuple[Member, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    two[1].weight_bytes, own = SMALL + 1, two[1].weight_bytes
    run_small_on_one_thread(two)
    assert torch.get_num_threads() == 2  # one member is large
    two[1].weight_bytes = own
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    run_small_on_one_thread(two)
    assert torch.get_num_threads() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    run_small_on_one_thread(two)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "--questions", "3", "--subject", "sums"],
        ["generate", *MEMBERS, "--max-new-tokens", "2", "The"],
        ["chat", *MEMBERS],
        ["inspect", "--sample", "8", "--json"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_chooses_one_thread_for_the_specialists(command: list[str]) -> None:
    result = CliRunner().invoke(app, command, input="")
    assert result.exit_code == 0, result.output
    assert torch.get_num_threads() == 1


def test_the_harness_of_the_command_line_chooses_and_the_library_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ensemble.yaml"
    EnsembleLLM.from_pretrained(PATHS[:1]).save_config(file)
    DeepenLM.create_from_arg_string(f"config={file}").ensemble.generate("The", max_new_tokens=2)
    assert torch.get_num_threads() == 2
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: DeepenLM.create_from_arg_string(f"config={file}"))
    monkeypatch.setattr(DeepenLM, "on_loaded", DeepenLM.on_loaded)
    assert CliRunner().invoke(app, ["eval", "--model", "deepen"]).exit_code == 0
    assert torch.get_num_threads() == 1
