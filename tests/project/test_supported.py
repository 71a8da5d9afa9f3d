"""A transformers outside the supported range is one clear line, before anything of it is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepen_llm.vocabulary import supported

ROOT = Path(__file__).parents[2]
ENTRIES = [
    "from deepen_llm import EnsembleLLM",
    "import deepen_llm.vocabulary",
    "import deepen_llm.members.local.member",
]


def python(folder: Path, version: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run with a transformers that says that it has another version, as its package's metadata do."""
    made = folder / f"transformers-{version}.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n")
    paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("version", "entry"), list(zip(["4.57.6", "6.0.0", "6.1.0rc1"], ENTRIES, strict=True)))
def test_a_version_outside_the_range_is_told_in_a_line(version: str, entry: str, tmp_path: Path) -> None:
    ran = python(tmp_path, version, "-c", entry)
    assert ran.returncode == 1
    line = rf"VersionError: deepen-llm expects transformers >=5\.0,<6, got {re.escape(version)}\n"
    assert re.search(line + r"Hint: pip install 'transformers>=5\.0,<6'\n$", ran.stderr)


def test_versions_inside_the_range_are_taken(tmp_path: Path) -> None:
    """The oldest one when first imported, and a later one by the check of the same process."""
    later = tmp_path / "later"
    made = later / "transformers-5.99.0.dev0.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 5.99.0.dev0\n")
    code = f"""
import sys
from importlib.metadata import version
from deepen_llm.vocabulary.supported import check_transformers
print(version("transformers"))
sys.path.insert(0, {str(later)!r})
check_transformers()
print(version("transformers"))
"""
    ran = python(tmp_path, "5.0.0", "-c", code)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == ["5.0.0", "5.99.0.dev0"]


def test_the_command_line_tells_it_without_a_traceback(tmp_path: Path) -> None:
    ran = python(tmp_path, "4.57.6", "-m", "deepen_llm.cli", "generate", "--member", "a", "--member", "b", "Hello")
    assert ran.returncode != 0
    assert "got 4.57.6" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_range_is_that_of_the_packages_metadata() -> None:
    low, high = supported.spelled(supported.OLDEST), supported.spelled(supported.BEYOND)
    assert f'"transformers>={low},<{high}"' in (ROOT / "pyproject.toml").read_text()
    assert supported.OLDEST <= supported.TESTED < supported.BEYOND
