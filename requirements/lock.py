"""Write the lock files of this folder: ``make lock``.

uv resolves for all supported Pythons and platforms at once and writes plain requirement files with hashes, which any
pip installs without uv. The files:

- ``run.txt``: what the package needs, and what builds it. ``dev.txt``: the same and all that tests and lint need.
- ``torch.txt``: the registry's torch, and ``cuda.txt``: what that needs beside it where it is a build with CUDA.
  ``torch-cpu.txt``: the builds without CUDA from PyTorch's own index, by the hashes in ``torch-cpu.sha256``.
- ``oldest.txt``: the lowest version that each range of the three pyproject.toml files allows (`compat.py`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CORE = ROOT / "pyproject.toml"
INTEGRATIONS = sorted(ROOT.glob("integrations/*/pyproject.toml"))
EXTRAS = ("accelerate", "adapters", "harness", "plot", "tune")
TORCH = "2.13.0"
_BESIDE_OLDEST = "datasets<5.1"  # lm-eval brings it, and newer ones need a newer huggingface-hub than our oldest
_OWN = "deepen-llm"
_CUDA = re.compile(r"(nvidia-|cuda-|triton==)")


def main() -> None:
    """Resolve again, with the newest versions that the ranges allow, and with the oldest."""
    pin = f"torch=={TORCH}\n"
    everything = _compiled([*_inputs(CORE), *map(str, INTEGRATIONS), *_group("dev"), *_group("build")], [], pin)
    torch = [block for block in everything if block.startswith("torch==")]
    cuda = [block for block in everything if _CUDA.match(block)]
    dev = [block for block in everything if block not in torch and block not in cuda]
    _write("torch.txt", torch)
    _write("torch-cpu.txt", [_cpu_wheels()])
    _write("cuda.txt", cuda)
    _write("dev.txt", dev)
    run = _compiled([str(CORE), *_group("build")], ["--constraints", str(HERE / "dev.txt")], pin)
    _write("run.txt", [block for block in run if not block.startswith("torch==") and not _CUDA.match(block)])
    oldest = _compiled(
        [*_inputs(CORE), *map(str, INTEGRATIONS), *_group("test"), *_group("build")],
        ["--resolution", "lowest-direct"],
        f"{_BESIDE_OLDEST}\n",
    )
    _write("oldest.txt", oldest)


def _inputs(project: Path) -> list[str]:
    return [str(project), *(part for extra in EXTRAS for part in ("--extra", extra))]


def _group(name: str) -> list[str]:
    return ["--group", f"{CORE}:{name}"]


def _compiled(inputs: list[str], options: list[str], pins: str) -> list[str]:
    """The resolved requirements, a block of lines each; ``pins`` override what projects say."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = Path(folder) / "overrides.txt"
        overrides.write_text(f"{_OWN} @ {ROOT.as_uri()}\n" + pins)
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10"]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-emit-package", _OWN]
        command += ["--overrides", str(overrides)]
        done = subprocess.run([*command, *options, *inputs], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    blocks = re.split(r"\n(?=[a-z0-9])", done.stdout.strip())
    return [block for block in blocks if not block.startswith("#")]


def _cpu_wheels() -> str:
    """The requirement of a torch without CUDA; on macOS the registry's own is one."""
    lines = [line.split() for line in (HERE / "torch-cpu.sha256").read_text().splitlines() if not line.startswith("#")]
    hashes = [digest for digest, wheel in lines if wheel.startswith(f"torch-{TORCH}+cpu-")]
    if not hashes:
        sys.exit(f"torch-cpu.sha256 has no wheel of torch {TORCH}: write down those of PyTorch's own index")
    pinned = f"torch=={TORCH}+cpu ; sys_platform != 'darwin'"
    return pinned + "".join(f" \\\n    --hash=sha256:{digest}" for digest in hashes)


def _write(name: str, blocks: list[str]) -> None:
    supported = re.search(r'^requires-python = "(.*)"', CORE.read_text(encoding="utf-8"), re.MULTILINE)
    assert supported is not None  # noqa: S101 - of this repository
    head = f"# Written by `make lock` (requirements/lock.py). Covers Python {supported[1]}.\n"
    (HERE / name).write_text(head + "\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
