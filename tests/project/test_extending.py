"""What docs/extending.md shows is a test module that passes as it stands, and that fails where a law is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BROKEN = {  # a line of the page, and what breaks a law
    "rows": ("return sum(scaled).log_softmax(-1)", "return sum(scaled).log_softmax(0)"),
    "ruled_out": (".clamp(min=-1e4)", ""),
}


def block() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """The example and its broken forms, in one process: importing takes longer than the laws."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "test_own.py").write_text(block(), encoding="utf-8")
    for name, (line, instead) in BROKEN.items():
        assert line in block()
        (folder / f"test_{name}.py").write_text(block().replace(line, instead), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603


def ended(done: "subprocess.CompletedProcess[str]", name: str, how: str) -> list[str]:
    """The laws of a file that passed or failed."""
    return re.findall(rf"^test_{name}\.py::(\S+) {how}", done.stdout, re.MULTILINE)


def test_the_example_passes(done: "subprocess.CompletedProcess[str]") -> None:
    assert len(ended(done, "own", "PASSED")) >= 10, done.stdout
    assert not ended(done, "own", "(?:FAILED|ERROR)"), done.stdout


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_law_fails(name: str, done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 1, done.stdout
    assert ended(done, name, "FAILED"), done.stdout
    told = re.findall(r"^\S+:\d+: AssertionError$", done.stdout, re.MULTILINE)
    assert len(told) == len(ended(done, r"\w+", "FAILED")), done.stdout
