"""The notebooks run offline from top to bottom, and print what they have kept."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "cookbooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_they_print_what_they_have_kept() -> None:
    command = [sys.executable, str(FOLDER / "execute.py"), "--check", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_opens_with_the_lines_that_swap_in_real_checkpoints(file: Path) -> None:
    first = next(cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code")
    lines = [line for line in first.source.splitlines() if re.match(r"(# )?MEMBERS = ", line)]
    assert len(lines) == 2
    assert "specialists.paths()" in lines[0]
    assert lines[1].startswith("# MEMBERS = [")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_what_a_cell_prints_is_one_output_however_fast_it_ran(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    cells = [[output.get("name") for output in cell.get("outputs", ())] for cell in notebook.cells]
    assert any(names == ["stdout"] for names in cells)
    assert not any(one == other == "stdout" for names in cells for one, other in pairwise(names))


def test_the_page_lists_them_all() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+\.ipynb)\)", page) == [file.name for file in NOTEBOOKS]
