"""Install this repository from its lock into a virtual environment: ``python install.py VENV run|dev``.

Runs on any Python from 3.6 on, to say on an unsupported one which are supported. pip's own output goes to a log, whose
end is shown where a step fails.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EDITABLE = {"run": [ROOT], "dev": [ROOT, *sorted(path.parent for path in ROOT.glob("integrations/*/pyproject.toml"))]}


def main(venv, lock):
    """Make the environment and install the lock and this repository into it, a line of output for each step."""
    _check_python((HERE / (lock + ".txt")).read_text().split("\n")[0])
    step("making {} with Python {}.{}.{}".format(venv, *sys.version_info[:3]))
    _make(Path(venv))
    pip = _Pip(Path(venv))
    _install_torch(pip, os.environ.get("TORCH_INDEX"))
    step("installing {} locked packages".format((HERE / (lock + ".txt")).read_text().count("==")))
    pip.locked(lock + ".txt")
    step("installing this repository")
    pip.run(
        "--no-deps", "--no-build-isolation", *(part for path in EDITABLE[lock] for part in ("--editable", str(path)))
    )


def _install_torch(pip, index):
    """Install a build without CUDA from the named index, or where pip's own settings lead to one; else the registry's.

    On macOS the registry's build is without CUDA.
    """
    if index and sys.platform != "darwin":
        step("installing torch from " + index)
        pip.locked("torch-cpu.txt", "--index-url", index)
        return
    step("installing torch")
    if sys.platform != "darwin" and pip.try_locked("torch-cpu.txt"):
        return
    pip.locked("torch.txt")
    if pip.needs_cuda():
        step("installing the CUDA libraries of this torch: gigabytes, which TORCH_INDEX avoids (see the Makefile)")
        pip.locked("cuda.txt")


def step(text):
    """Print what happens now."""
    print("deepen-llm: " + text, flush=True)


def _check_python(head):
    """Stop where the lock does not cover the running Python."""
    low, high = [tuple(map(int, version.split("."))) for version in re.findall(r"\d+\.\d+", head)]
    if not low <= sys.version_info[:2] < high:
        last = "{}.{}".format(high[0], high[1] - 1)
        sys.exit(
            "deepen-llm: the lock covers Python {}.{} to {}, and this is Python {}.{}: run make again with "
            "PYTHON=python{}".format(*low, last, *sys.version_info[:2], last)
        )


def _make(venv):
    """Make a virtual environment; one of another Python, or of one that is gone, is made anew."""
    config = venv / "pyvenv.cfg"
    made_by = re.search(r"^version\S* = (\d+\.\d+)", config.read_text(), re.MULTILINE) if config.exists() else None
    other = made_by is not None and made_by.group(1) != "{}.{}".format(*sys.version_info[:2])
    gone = config.exists() and not _python_of(venv).exists()  # a link that leads nowhere
    if subprocess.call([sys.executable, "-m", "venv", str(venv)] + (["--clear"] if other or gone else [])):
        sys.exit("deepen-llm: the virtual environment cannot be made; on Debian, apt-get install python3-venv")


def _python_of(venv):
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


class _Pip:
    """pip in a virtual environment."""

    def __init__(self, venv):
        self._python, self._log = str(_python_of(venv)), venv / "install.log"

    def locked(self, name, *options):
        """Install a lock file, and nothing that it does not name."""
        self.run(*_locked(name), *options)

    def try_locked(self, name):
        """`locked`; whether that worked."""
        return not self._call(_locked(name))

    def run(self, *arguments):
        """``pip install``; where it fails, show the end of its output and stop."""
        if self._call(arguments):
            lines = self._log.read_text(errors="replace").splitlines()
            sys.exit("\n".join([*lines[-20:], "deepen-llm: pip failed; all of its output is in {}".format(self._log)]))

    def _call(self, arguments):
        command = [self._python, "-m", "pip", "--disable-pip-version-check", "install"]
        with self._log.open("ab") as log:
            return subprocess.call(command + list(arguments), stdout=log, stderr=subprocess.STDOUT)

    def needs_cuda(self):
        """Whether the installed torch is a build that names CUDA libraries."""
        code = (
            "import importlib.metadata as m; print([r for r in m.requires('torch') if r[:6] in ('nvidia', 'cuda-t')])"
        )
        return subprocess.check_output([self._python, "-c", code]).strip() != b"[]"


def _locked(name):
    return ["--no-deps", "--require-hashes", "--requirement", str(HERE / name)]


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in EDITABLE:
        sys.exit("deepen-llm: python install.py VENV run|dev, not {}".format(" ".join(sys.argv)))
    main(*sys.argv[1:])
