"""What pages name in code is there: files, functions and options, under the names of today."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("integrations/*/README.md")),
]
SOURCE = "\n".join(
    file.read_text(encoding="utf-8")
    for folder in ("deepen_llm", "integrations", "tests", "benchmarks", "research")
    for file in ROOT.glob(f"{folder}/**/*.py")
)
WORDS = set(re.findall(r"\w+", SOURCE))
FORMULAS = {"f", "g", "f_i", "first_m", "first_i", "s", "E"}
FUTURE = {"deepen_llm/fusion/methods/maximum.py", "Maximum"}  # what CONTRIBUTING.md shows how to write
PATH = re.compile(r"(?:\w+/)+\w+\.(?:py|md|yaml|toml|json)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    codes = re.findall(r"`([^`\n]+)`", prose)
    files = {file for code in codes for file in PATH.findall(code)} - FUTURE
    assert {file for file in files if not any((ROOT / base / file).exists() for base in ("", "deepen_llm"))} == set()
    calls = {name for code in codes for name in re.findall(r"([A-Za-z_]\w*)\(", code)}
    assert calls - WORDS - FORMULAS - FUTURE == set()
