"""What is locked, against what the projects ask for."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("integrations/*/pyproject.toml"))]
LOCKS = ["run", "dev", "oldest", "torch", "torch-cpu", "cuda"]
PINNED = re.compile(r"^([a-z0-9][a-z0-9-]*)(?:\[[a-z,-]+\])?==([^\s;]+)(?: ; ([^\\\n]*))?", re.MULTILINE)
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
_OWN = {"deepen-llm", "langchain-deepen", "llama-index-llms-deepen"}
_NOT_LOCKED = {"torchao", "torch"}  # torch has a lock of its own; torchao prints to stderr wherever it is imported


def locked(lock: str, python: str) -> dict[str, Version]:
    """What a lock installs on Linux with this Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = PINNED.findall((ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8"))
    there = [(name, version) for name, version, marker in found if not marker or Marker(marker).evaluate(environment)]
    assert len(dict(there)) == len(there), "one version of each package"
    return {name: Version(version) for name, version in there}


def required(text: str) -> list[Requirement]:
    """All that a pyproject.toml, or a part of one, requires."""
    found = map(Requirement, re.findall(r'"([A-Za-z0-9][A-Za-z0-9-]*(?:>=|==)[^"]*)"', text))
    return [one for one in found if one.name.lower() not in _OWN]


TEXTS = [project.read_text(encoding="utf-8") for project in PROJECTS]
RANGES = {str(one): one for text in TEXTS for one in required(text) if one.name not in _NOT_LOCKED}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_a_version_within_every_range(python: str) -> None:
    versions = locked("dev", python)
    outside = [name for name, one in RANGES.items() if versions[one.name.lower()] not in one.specifier]
    assert not outside


def test_what_compat_calls_the_oldest_is_the_lower_end_of_every_range_of_the_packages_themselves() -> None:
    oldest = locked("oldest", "3.11")
    own = [one for text in TEXTS for one in required(text.partition("[dependency-groups]")[0]) if one.name != "torchao"]
    assert len(own) > 20
    assert [str(one) for one in own if _floor(one) != oldest[one.name.lower()]] == []


def _floor(requirement: Requirement) -> Version:
    (floor,) = (Version(one.version) for one in requirement.specifier if one.operator == ">=")
    return floor


@pytest.mark.parametrize("python", PYTHONS)
def test_an_installation_without_tests_has_the_versions_that_the_tests_ran_with(python: str) -> None:
    run, dev = locked("run", python), locked("dev", python)
    assert run.items() <= dev.items()
    assert {"transformers", "tokenizers", "llguidance"} <= run.keys()
    assert locked("torch", python)["torch"] == Version(locked("torch-cpu", python)["torch"].public)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_version_has_hashes_and_the_lock_says_which_pythons_it_covers(lock: str) -> None:
    head, *blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8"))
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    supported = re.search(r'^requires-python = "(.*)"', PROJECTS[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert supported is not None
    assert head.strip().endswith(f"Covers Python {supported[1]}.")
    assert all(f"{python}.0" in SpecifierSet(supported[1]) for python in PYTHONS)


def test_a_python_that_the_lock_does_not_cover_ends_in_one_line_that_says_which_it_does(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (folder / "run.txt").write_text("# Covers Python >=3.97,<3.99.\nnothing==1\n", encoding="utf-8")
    command = [sys.executable, str(folder / "install.py"), str(tmp_path / "venv"), "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.startswith("deepen-llm: the lock covers Python 3.97 to 3.98, and this is Python 3.")
    assert not (tmp_path / "venv").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    python = folder / "bin" / "python"
    venv.create(folder, symlinks=True)
    for one in python.parent.glob("python*"):
        one.unlink()
        one.symlink_to(tmp_path / "nowhere")
    make = f"import install, pathlib; install._make(pathlib.Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", make], cwd=ROOT / "requirements", check=True)  # noqa: S603
    subprocess.run([python, "-c", "import pip"], check=True)  # noqa: S603


@pytest.mark.parametrize("given", [[], ["venv"], ["venv", "everything"]])
def test_other_arguments_end_in_a_line_that_says_which_there_are(given: list[str]) -> None:
    command = [sys.executable, str(ROOT / "requirements" / "install.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "VENV run|dev" in done.stderr


def test_a_step_that_fails_shows_the_end_of_pips_output(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for lock in ("torch", "torch-cpu"):
        (folder / f"{lock}.txt").write_text("nothing-of-this-name==1 --hash=sha256:" + "0" * 64, encoding="utf-8")
    command = [sys.executable, str(folder / "install.py"), str(tmp_path / "venv"), "run"]
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    assert done.returncode == 1
    assert "nothing-of-this-name==1" in done.stderr
    assert "install.log" in done.stderr
