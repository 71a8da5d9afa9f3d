"""What the README shows runs as it stands, with the bundled specialists for the checkpoints it names."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


PRINTED = [" Cold", "Usage(", "weather", " Cold", "[' Paris', ' Rome']"]


@pytest.mark.parametrize(("block", "expected"), list(zip(BLOCKS, PRINTED, strict=True)))
def test_the_code_runs(
    block: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    named = '["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"]'
    exec(block.replace(named, "__import__('deepen_llm.specialists').specialists.paths()[:2]"), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert expected in printed
    assert (tmp_path / "ensemble.yaml").exists() == ("save_config" in block)


def test_the_api_is_ten_lines() -> None:
    assert "save_config" in BLOCKS[1]
    assert len([line for line in BLOCKS[1].splitlines() if line]) <= 10


def test_the_files_that_it_links_are_there() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / link).is_file()
