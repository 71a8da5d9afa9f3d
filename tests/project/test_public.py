"""Both integrations import public names only."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import langchain_deepen
import pytest
from packaging.version import Version

import deepen_llm

ROOT = Path(__file__).parents[2]
OWN = ("deepen-llm", "deepen-llm", "langchain-deepen", "llama-index-llms-deepen")
PUBLIC = ("deepen_llm", "deepen_llm.errors", "deepen_llm.specialists", "deepen_llm.structure", "deepen_llm.tools")
PACKAGES = ("integrations/langchain-deepen/langchain_deepen", "integrations/llama-index-llms-deepen/llama_index")


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Each import of ours in a file: the module and the name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deepen_llm":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "deepen_llm")


@pytest.mark.parametrize("package", PACKAGES)
def test_an_integration_imports_public_names_only(package: str) -> None:
    found = [(file.name, *one) for file in sorted((ROOT / package).rglob("*.py")) for one in imports(file)]
    assert found
    hidden = [one for one in found if one[1] not in PUBLIC or not one[2] or one[2].startswith("_")]
    assert not hidden
    for _, module, name in found:
        exported = getattr(importlib.import_module(module), "__all__", None)
        assert exported is None or name in exported, (module, name)


def test_the_three_packages_have_one_version_and_require_each_other_within_it() -> None:
    files = [ROOT / "pyproject.toml", *sorted(ROOT.glob("integrations/*/pyproject.toml"))]
    texts = [file.read_text(encoding="utf-8") for file in files]
    versions = {re.findall(r'^version = "(.+)"$', text, flags=re.MULTILINE)[0] for text in texts}
    assert versions == {deepen_llm.__version__} == {langchain_deepen.__version__}
    version = Version(deepen_llm.__version__)
    within = f">={version.major}.{version.minor},<{version.major}.{version.minor + 1}"
    own = r'"((?:deepen-llm|langchain-deepen|llama-index-llms-deepen)[><=][^"]*)"'
    required = [one for text in texts for one in re.findall(own, text)]
    assert sorted(required) == sorted(f"{name}{within}" for name in OWN)


def test_every_public_name_is_there_and_is_documented() -> None:
    for name in deepen_llm.__all__:
        assert getattr(deepen_llm, name) is not None
    kinds = [one for name in deepen_llm.__all__ if isinstance(one := getattr(deepen_llm, name), type)]
    assert len(kinds) > 20
    assert [kind.__name__ for kind in kinds if not kind.__doc__] == []
