"""The documentation builds offline, and what would mislead its readers ends the build."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
FOLDERS = ("cookbooks", "deepen_llm", "docs", "integrations")
LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(?:https?:)?//|url\(["']?(?:https?:)?//""")


def build(root: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    done = build(ROOT, made)
    assert done.returncode == 0, done.stderr[-4000:]
    return made


def test_the_site_has_every_page_and_what_they_show(site: Path) -> None:
    pages = {file.relative_to(ROOT / "docs").with_suffix(".html") for file in ROOT.glob("docs/**/*.md")}
    notebooks = {Path("cookbooks") / f"{file.stem}.html" for file in ROOT.glob("cookbooks/*.ipynb")}
    extra = {Path("index.html"), Path("contributing.html"), Path("changelog.html"), Path("cookbooks/index.html")}
    assert {page for page in pages | notebooks | extra if not (site / page).is_file()} == set()
    home = (site / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([\w./-]+\.(?:html|svg|png)|LICENSE)(?:#[^"]*)?"', home)
    assert {"chat.html", "surface.svg", "trace.png", "cookbooks/index.html", "LICENSE"} <= set(links)
    assert {link for link in links if not (site / link).is_file()} == set()


def test_the_reference_shows_what_a_public_name_says_of_itself(site: Path) -> None:
    from deepen_llm import EnsembleLLM

    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert EnsembleLLM.__doc__ is not None
    assert EnsembleLLM.__doc__.splitlines()[0] in page
    assert 'id="deepen_llm.EnsembleLLM.from_pretrained"' in page
    assert re.search(r'href="generation\.html#deepen_llm\.GenerationOptions"', page)


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in {".html", ".css"}]
    assert len(files) > 20
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    assert {str(file): found[0] for file, text in texts.items() if (found := LOADED.search(text))} == {}
    assert not any('class="mermaid"' in text for text in texts.values())  # which the theme fetches a script for


def _append(file: str, text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        with (root / file).open("a", encoding="utf-8") as page:
            page.write(text)

    return spoil


def _replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (root / file).write_text(text.replace(old, new), encoding="utf-8")

    return spoil


MISTAKES = {
    "a link to no page": (
        _append("docs/chat.md", "\n[there](nowhere.md)\n"),
        "'nowhere.md', but the target is not found",
    ),
    "a link of the README": (_append("README.md", "\n[there](docs/gone.md)\n"), "'docs/gone.md', but the target"),
    "an anchor that is not there": (_append("docs/tuning.md", "\n[there](method.md#no-such-part)\n"), "#no-such-part"),
    "a page that nothing leads to": (_append("docs/lost.md", "# Lost\n"), "lost.md"),
    "a public name without a docstring": (
        _append("deepen_llm/specialists/__init__.py", "\n\ndef untold() -> None: ...\n"),
        "deepen_llm.specialists.untold has no docstring",
    ),
    "a public method without a docstring": (
        _replace(
            "deepen_llm/errors.py", '    """A member that could not be loaded."""', "    def untold(self) -> None: ..."
        ),
        "deepen_llm.errors.LoadError.untold has no docstring",
    ),
    "a public name on no page": (
        _replace("docs/reference/tuning.md", "::: deepen_llm.Example\n", ""),
        "deepen_llm.Example is public and on no page of docs/reference",
    ),
    "a parameter that a docstring names and nothing takes": (
        _replace("deepen_llm/specialists/__init__.py", "        name: One of", "        nom: One of"),
        "Parameter 'nom' does not appear in the function signature",
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """What the build says of a copy with every mistake: one build for all, since each takes half a minute."""
    root = tmp_path_factory.mktemp("copy")
    for file in FILES:
        shutil.copy(ROOT / file, root / file)
    for folder in FOLDERS:
        unneeded = shutil.ignore_patterns("checkpoints", "tests", "__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=unneeded)
    for spoil, _ in MISTAKES.values():
        spoil(root)
    return build(root, root / "site")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_the_build_and_is_named(mistake: str, refused: "subprocess.CompletedProcess[str]") -> None:
    assert refused.returncode != 0
    warnings = [said for said in re.split(r"^(?=[A-Z]+ +-)", refused.stderr, flags=re.M) if said.startswith("WARNING")]
    assert any(MISTAKES[mistake][1] in line for line in warnings), refused.stderr[-4000:]
