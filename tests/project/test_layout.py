"""The folders of the package: how few modules lie beside them, and that no imports run in circles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "deepen_llm"
MOST_MODULES = 7  # directly in deepen_llm/, __init__ among them
FOREIGN = {"benchmarks", "research", "tests", "docs", "pytest", "_pytest"}


def module_of(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> Iterator[str]:
    """The modules and names that a file imports anywhere, under `TYPE_CHECKING` and within functions, too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph_of(package: Path) -> dict[str, set[str]]:
    """Each module of a package with those of its modules that it imports, itself left out."""
    files = {module_of(file, package.parent): file for file in package.rglob("*.py")}

    def module(name: str) -> str | None:
        return name if name in files else next((up for up in [name.rpartition(".")[0]] if up in files), None)

    return {
        name: {found for one in imported(file) if (found := module(one)) and found != name}
        for name, file in files.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every set of modules that import each other, directly or by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reach = {name: reached(name) for name in graph}
    knots = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return sorted(sorted(knot) for knot in knots)


def test_few_modules_lie_beside_the_folders() -> None:
    modules = sorted(file.name for file in PACKAGE.glob("*.py"))
    assert len(modules) <= MOST_MODULES, f"{modules}: put the new one into the folder that says what it is"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = graph_of(PACKAGE)
    assert len(graph) > 150
    assert circles(graph) == []


def test_a_circle_is_found_wherever_its_imports_stand(tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from house.two import thing\n")
    (package / "two.py").write_text("def late():\n    import house.three\n")
    (package / "three.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house import four, one\n"
    )
    (package / "four.py").write_text("import house\n")
    assert circles(graph_of(package)) == [["house.one", "house.three", "house.two"]]
    (package / "three.py").write_text("")
    assert circles(graph_of(package)) == []


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: module_of(file, ROOT))
def test_the_package_needs_nothing_of_this_repository_beside_itself(file: Path) -> None:
    allowed = {"pytest"} if file.relative_to(PACKAGE).parts[0] == "testing" else set()
    assert {name.partition(".")[0] for name in imported(file)} & (FOREIGN - allowed) == set()
