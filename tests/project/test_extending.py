"""What docs/extending.md shows is a test module that passes as it stands, and that fails where a law is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BROKEN = {  # a line of the page, and what breaks a law
    "return sum(scaled).log_softmax(-1)": "return sum(scaled).log_softmax(0)",
    ".clamp(min=-1e4)": "",
}


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "test_own.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603


def block() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


def test_the_example_passes(tmp_path: Path) -> None:
    done = run(block(), tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout)


@pytest.mark.parametrize(("line", "instead"), list(BROKEN.items()), ids=["rows", "ruled out"])
def test_a_broken_law_fails(line: str, instead: str, tmp_path: Path) -> None:
    assert line in block()
    done = run(block().replace(line, instead), tmp_path)
    assert done.returncode == 1, done.stdout
    assert "AssertionError" in done.stdout
