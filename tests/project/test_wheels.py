"""Wheels of all three packages, in an environment that has nothing of this checkout, without a network."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "deepen_llm": ROOT,
    "langchain_deepen": ROOT / "integrations/langchain-deepen",
    "llama_index": ROOT / "integrations/llama-index-llms-deepen",
}
OFFLINE = """
import socket

def refuse(*args, **given):
    raise OSError("no network here")

socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse
"""
USE = {
    "deepen_llm": """
import deepen_llm as used
from deepen_llm import EnsembleLLM, specialists
llm = EnsembleLLM.from_pretrained(specialists.paths(), fusion="bayes")
print(llm.chat([{"role": "user", "content": "What is the capital of France?"}]).text)
print(llm.generate("Name a number.", response_format=int, max_new_tokens=8).parsed + 0)
from deepen_llm.demo import long_answers
from deepen_llm.demo.long_answers.questions import questions
chain = questions("test")[0]
print(EnsembleLLM.from_pretrained(long_answers.paths(), main_model=2).generate(chain.prompt, max_new_tokens=8).text)
""",
    "langchain_deepen": """
import langchain_deepen as used
from deepen_llm import specialists
from langchain_deepen import ChatDeepen, DeepenLLM
print(ChatDeepen(members=specialists.paths(), fusion="bayes").invoke("What is the capital of France?").content)
print(len(DeepenLLM(members=specialists.paths(), max_new_tokens=4).invoke("Question: ")))
""",
    "llama_index": """
import llama_index.llms.deepen as used
from deepen_llm import specialists
from llama_index.core.llms import ChatMessage
from llama_index.llms.deepen import DeepenLLM
llm = DeepenLLM(members=specialists.paths(), fusion="bayes")
print(llm.chat([ChatMessage(content="What is the capital of France?")]).message.content)
""",
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    for name, folder in PACKAGES.items():
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out / name)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603
    return {name: next((out / name).glob("*.whl")) for name in PACKAGES}


@pytest.fixture(scope="module")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheels; what they depend on comes from this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])  # which leaves out its own .pth files
    install = ["install", "--quiet", "--no-deps", "--no-index", *map(str, wheels.values())]
    made = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(made), *install]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    return made


def test_they_import_and_run_offline(python: Path, tmp_path: Path) -> None:
    script = OFFLINE + "".join(f"print('used', {name!r})\n{use}print(used.__file__)\n" for name, use in USE.items())
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(  # noqa: S603
        [str(python), "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, said in zip(USE, done.stdout.split("used ")[1:], strict=True):
        assert said.startswith(name)
        assert "Paris" in said
        assert said.splitlines()[-1].startswith(str(python.parents[1])), name


@pytest.mark.parametrize("name", PACKAGES)
def test_it_holds_its_own_files_and_no_others(name: str, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[name]) as wheel:
        held = [file for file in wheel.namelist() if ".dist-info/" not in file]
        assert any(".dist-info/licenses/LICENSE" in file for file in wheel.namelist())
    package = Path("llama_index/llms/deepen") if name == "llama_index" else Path(name)
    source = PACKAGES[name] / package
    ours = {
        str(package / file.relative_to(source))
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert set(held) == ours
    assert str(package / "py.typed") in held
    assert {Path(file).parts[0] for file in held} == {package.parts[0]}
    assert not {"benchmarks", "research", "tests", "study"} & {part for file in held for part in Path(file).parts}
