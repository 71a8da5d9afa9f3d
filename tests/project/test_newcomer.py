"""The fusion method of CONTRIBUTING.md, as one file and one line: known by its name wherever a method is named."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys
from pathlib import Path
import pytest
import deepen_llm
from deepen_llm import EnsembleConfig, EnsembleLLM, SearchSpace, specialists
from deepen_llm.cli import app
from deepen_llm.fusion import METHODS
from langchain_deepen import DeepenLLM
from typer.testing import CliRunner

folder, paths = Path(sys.argv[1]), [str(path) for path in specialists.paths()[:2]]
def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout
prompt, said = "The capital of France is", {}
llm = EnsembleLLM.from_pretrained(paths, fusion="maximum", device="cpu")
said["python"] = llm.generate(prompt, max_new_tokens=6).text
llm.save_config(folder / "e.yaml")
said["yaml"] = EnsembleLLM.from_config(folder / "e.yaml").generate(prompt, max_new_tokens=6).text
members = [part for path in paths for part in ("-m", path)]
asked = ["generate", *members, "--fusion", "maximum", "--max-new-tokens", "6", prompt]
said["command line"] = run(*asked).removesuffix("\\n")
said["langchain"] = DeepenLLM(members=paths, fusion="maximum", max_new_tokens=6).invoke(prompt)
powered = EnsembleConfig(members=paths, fusion={"method": "maximum", "power": 3})
powered.save(folder / "p.yaml")
found = run(
    "tune", str(folder / "dev.jsonl"), *members, "--chat", "--trials", "1", "--max-new-tokens", "6", "--device", "cpu",
    "--search-space", "methods=[maximum]", "--search-space", "weights=[avg]", "--search-space", "gates=[always]",
    "--search-space", "power=[1.5, 1.5]", "--out", str(folder / "tuned.yaml"), "--json",
)
laws = ["tests/fusion/test_methods.py", "-k", "maximum or file_has_its_name", "-p", "no:cacheprovider"]
passed = pytest.main([*laws, "--assert=plain"])  # since what it would rewrite is imported already
print(json.dumps({
    "passed": passed,
    "package": deepen_llm.__file__,
    "said": said,
    "help": run("generate", "--help"),
    "power": EnsembleConfig.load(folder / "p.yaml").fusion.power,
    "tried": [trial["fusion"] for trial in json.loads(found)["trials"]],
    "default": SearchSpace().methods,
}))
"""


def written() -> tuple[str, str]:
    """The file and the line of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (diff,) = re.findall(r"^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    added = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    kept = [line[1:] for line in diff.splitlines() if line.startswith(" ")]
    assert len(added) == 1
    assert kept == (ROOT / "deepen_llm/fusion/methods/__init__.py").read_text(encoding="utf-8").splitlines()[-2:]
    return file, added[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the method, and of its tests."""
    file, line = written()
    shutil.copytree(ROOT / "deepen_llm", tmp_path / "deepen_llm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "deepen_llm/fusion/methods"
    (folder / "maximum.py").write_text(file, encoding="utf-8")
    with (folder / "__init__.py").open("a", encoding="utf-8") as methods:
        methods.write(f"{line}\n")
    return tmp_path


def test_a_method_is_one_file_and_one_line_and_passes_what_a_method_has_to_pass(copy: Path) -> None:
    from tests.tuning.test_tune import asked

    (copy / "dev.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked(each=4)[:30]), encoding="utf-8")
    places = [copy, ROOT / "integrations/langchain-deepen"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "COLUMNS": "200"}
    command = [sys.executable, "-c", CODE, str(copy)]
    done = subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["passed"] == 0, done.stdout[-3000:]
    assert "9 passed" in done.stdout
    assert Path(found["package"]).is_relative_to(copy)
    assert len(set(found["said"].values())) == 1, found["said"]
    assert "maximum" in found["help"]
    assert found["power"] == 3
    assert {one["method"] for one in found["tried"]} == {"maximum"}
    assert {"method": "maximum", "power": 1.5} in found["tried"]
    assert "maximum" not in found["default"]
