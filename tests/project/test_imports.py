"""Every package and every module beside them can be the first one that is imported."""

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "deepen_llm"
EACH = """
import importlib, sys
import torch, transformers, pydantic
for name in sys.argv[1:]:
    for loaded in [one for one in sys.modules if one.split(".")[0] == "deepen_llm"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except ImportError as error:  # an extra may not be installed
        if str(error.name).split(".")[0] == "deepen_llm":
            raise
"""


def test_each_can_be_imported_first() -> None:
    files = sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__init__.py")])
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    names = [name.removesuffix(".__init__") for name in names if ".harness." not in name]  # that registers itself
    done = subprocess.run([sys.executable, "-c", EACH, *names], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-2000:]
