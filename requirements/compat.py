"""Run the laws against the ends of the supported ranges: ``make compat``, or ``python compat.py oldest newest``.

Each end gets an environment of its own in build/compat: ``oldest`` from the lock of the lowest versions that the
ranges in pyproject.toml allow, ``newest`` from what the registry has today. Where tests fail, each package that differs
from the lock is put back to its locked version by itself, to name the one that the failure comes from; what depends on
the models and the frameworks first, and for ten minutes at most.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("integrations/*/pyproject.toml"))]
EXTRAS = ("accelerate", "adapters", "harness", "plot", "tune")
TESTS = (
    "tests/laws",
    "tests/project/test_wheels.py",
    "tests/members",
    "tests/structure",
    "tests/tools",
    "integrations",
)
LIKELY = ("transformers", "tokenizers", "torch", "langchain-core", "llama-index-core", "llguidance", "pydantic")
"""What a failure mostly comes from."""
BLAME_SECONDS = 600
_UV = (sys.executable, "-m", "uv")
_NAME = re.compile(r"^([a-z0-9][a-z0-9-]*)==([^\s;]+)(?: ; ([^\\\n]*))?", re.MULTILINE)


class End:
    """One end of the ranges, in an environment of its own.

    Args:
        name: ``oldest`` or ``newest``.
    """

    def __init__(self, name: str) -> None:
        self.name, self._venv = name, ROOT / "build" / "compat" / name
        self._python = self._venv / ("Scripts" if os.name == "nt" else "bin") / "python"

    def install(self) -> None:
        """Make the environment anew."""
        _run("venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(self._venv))
        if index := os.environ.get("TORCH_INDEX"):
            torch = "torch" if self.name == "newest" else f"torch=={_locked('oldest')['torch']}"
            self._pip("install", "--index-url", index, torch)
        if self.name == "oldest":
            self._pip("install", "--no-deps", "--requirement", str(HERE / "oldest.txt"))
        else:
            inputs = [part for project in PROJECTS for part in ("--requirement", str(project / "pyproject.toml"))]
            extras = [part for extra in EXTRAS for part in ("--extra", extra)]
            groups = [part for group in ("test", "build") for part in ("--group", f"{ROOT}/pyproject.toml:{group}")]
            self._pip("install", *inputs, *extras, *groups, "--overrides", str(self._own()))
        editable = [part for project in PROJECTS for part in ("--editable", str(project))]
        self._pip("install", "--no-deps", "--no-build-isolation", *editable)
        self._pip("check")

    def passes(self, *options: str) -> bool:
        """Whether the tests pass."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        cache = f"cache_dir={self._venv}/.pytest_cache"
        command = [
            str(self._python),
            "-m",
            "pytest",
            "-o",
            cache,
            "--numprocesses",
            "auto",
            "--dist",
            "worksteal",
            *options,
            *TESTS,
        ]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0

    def versions(self) -> dict[str, str]:
        """What is installed, by name."""
        command = [*_UV, "pip", "freeze", "--quiet", "--python", str(self._python)]
        frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {name: version for name, version, _ in _NAME.findall(frozen.lower())}

    def blamed(self) -> list[str]:
        """The packages whose locked version alone makes the failed tests pass, of those that there is time to try."""
        found, began = [], time.monotonic()
        candidates = sorted(self.changed(), key=lambda one: LIKELY.index(one[0]) if one[0] in LIKELY else len(LIKELY))
        for i, (name, version, locked) in enumerate(candidates):
            if time.monotonic() - began > BLAME_SECONDS:
                print(f"== {self.name}: not tried alone: {', '.join(one[0] for one in candidates[i:])}", flush=True)
                break
            self._pip("install", "--no-deps", f"{name}=={locked}")
            if self.passes("--last-failed", "--last-failed-no-failures", "none", "--maxfail", "1", "--quiet"):
                found.append(f"{name} {version} (passes with {locked})")
            self._pip("install", "--no-deps", f"{name}=={version}")
        return found

    def changed(self) -> list[tuple[str, str, str]]:
        """Direct dependencies that differ from the lock: name, version here, locked version."""
        locked, direct = _locked("dev") | _locked("torch"), _direct()
        both = ((name, version, locked.get(name, version)) for name, version in self.versions().items())
        return [(name, version, other) for name, version, other in both if name in direct and version != other]

    def _own(self) -> Path:
        """Overrides by which the integrations take the core from this repository."""
        file = self._venv / "overrides.txt"
        file.write_text(f"deepen-llm @ {ROOT.as_uri()}\n", encoding="utf-8")
        return file

    def _pip(self, verb: str, *arguments: str) -> None:
        _run("pip", verb, "--quiet", "--python", str(self._python), *arguments)


def main(names: list[str]) -> int:
    """Install and test each end; the exit status."""
    failed = 0
    for end in map(End, names):
        print(f"== {end.name}: installing", flush=True)
        end.install()
        versions = end.versions()
        shown = ", ".join(f"{name} {versions[name]}" for name in sorted(_direct() & versions.keys()))
        print(f"== {end.name}, Python {sys.version.split()[0]}: {shown}", flush=True)
        if end.passes():
            print(f"== {end.name}: passed", flush=True)
            continue
        failed = 1
        others = ", ".join(f"{name} {version}" for name, version, _ in end.changed()) or "nothing: the lock fails, too"
        print(f"== {end.name}: FAILED. Differs from the lock: {others}", flush=True)
        if blamed := end.blamed():
            print(f"== {end.name}: the failure comes from {', '.join(blamed)}", flush=True)
    return failed


def _locked(lock: str) -> dict[str, str]:
    """What a lock names for the running Python."""
    from packaging.markers import Marker

    found = _NAME.findall((HERE / f"{lock}.txt").read_text(encoding="utf-8"))
    return {name: version for name, version, marker in found if not marker or Marker(marker.strip()).evaluate()}


def _direct() -> set[str]:
    """What the projects themselves require, tests included."""
    texts = "".join((project / "pyproject.toml").read_text(encoding="utf-8") for project in PROJECTS)
    return {name.lower() for name in re.findall(r'"([A-Za-z0-9][A-Za-z0-9-]*)(?:>=|==)', texts)}


def _run(*command: str) -> None:
    if subprocess.run([*_UV, *command], cwd=ROOT, check=False).returncode:
        sys.exit(f"compat: uv {' '.join(command)} failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
