"""What `mkdocs.yml` builds beside the files of this folder, and what the build refuses.

Pages are made of files elsewhere in the repository (`SOURCES`, and the notebooks). A public name without a docstring,
or one that no page of ``reference/`` shows, is a warning, and with ``strict`` a warning fails the build.
"""

from __future__ import annotations

import json
import logging
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (ROOT, ROOT / "integrations/langchain-deepen", ROOT / "integrations/llama-index-llms-deepen")
SOURCES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "LICENSE",
    "cookbooks/README.md": "cookbooks/index.md",
}
"""Files of the repository, by where the site has them."""

PUBLIC = (
    "deepen_llm",
    "deepen_llm.errors",
    "deepen_llm.outputs",
    "deepen_llm.specialists",
    "deepen_llm.testing",
    "langchain_deepen",
    "llama_index.llms.deepen",
)
"""Modules all of whose public names belong on a page of ``reference/``."""

_OF_PYDANTIC = {"model_config"}
_IN_ITEM = re.compile(r"^ {3}(?= {4}\S|\S)", re.MULTILINE)
_NEXT = re.compile(r"(?<=\n)(?=\d+\. )")
_LINK = re.compile(r"(?<=\]\()([^)#\s]+)")
_SHOWN = re.compile(r"^::: (\S+)$", re.MULTILINE)
_log = logging.getLogger("mkdocs.hooks.pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files, and say which names have no docstring or no page."""
    moved = SOURCES | {file: file.replace(".ipynb", ".md") for file in map(_relative, ROOT.glob("cookbooks/*.ipynb"))}
    for source, page in moved.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = as_markdown(json.loads(text)) if source.endswith(".ipynb") else text
        head = "---\nhide: [navigation]\n---\n" if page == "index.md" else ""
        files.append(File.generated(config, page, content=head + relinked(text, source, page, moved)))
    for problem in problems("\n".join(file.content_string for file in files if file.src_uri.startswith("reference/"))):
        _log.warning(problem)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write numbered items as Python-Markdown asks: four spaces before their lines, and a blank line before the next.

    Elsewhere three spaces are enough, and no blank line is needed.
    """
    parts = re.split(r"^(```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)  # odd ones are code
    return "".join(part if i % 2 else _NEXT.sub(r"\n", _IN_ITEM.sub("    ", part)) for i, part in enumerate(parts))


def relinked(text: str, source: str, page: str, moved: dict[str, str]) -> str:
    """A page's text with links that lead from its place on the site to where the site has the linked files.

    Args:
        text: Markdown.
        source: The file that it was read from, relative to the repository.
        page: Where the site has it.
        moved: Where the site has other files, by where the repository has them; those of ``docs/`` are at its root.
    """

    def relink(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        place = moved.get(target, target.removeprefix("docs/") if (ROOT / target).is_file() else None)
        return posixpath.relpath(place, posixpath.dirname(page)) if place else link[1]

    return _LINK.sub(relink, text)


def as_markdown(notebook: dict[str, Any]) -> str:
    """A notebook as a page: its text, its code, and what the code printed."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        printed = "".join(map(_text, cell.get("outputs", ())))
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def problems(reference: str) -> Iterator[str]:
    """What is missing on the pages of the reference, a sentence each.

    Args:
        reference: The text of all of them.
    """
    shown = [_load(name) for name in dict.fromkeys(_SHOWN.findall(reference))]
    paths = {path for one in shown for path in (one.path, *(member.path for member in one.members.values()))}
    for module in PUBLIC:
        for name in _public(_load(module)):
            if _load(f"{module}.{name}").path not in paths:
                yield f"{module}.{name} is public and on no page of docs/reference: add '::: {module}.{name}' to one"
    for one in shown:
        for missing in undocumented(one):
            yield f"{missing} has no docstring"


def undocumented(found: griffe.Object) -> Iterator[str]:
    """Yield the paths of an object and its public members that have no docstring, of their own or from a base.

    Keys of a ``TypedDict`` need none: the class's docstring names the class that describes them.
    """
    if not found.has_docstring:
        yield found.path
    bases = found.mro() if isinstance(found, griffe.Class) else []
    if any(_is_typed_dict(kind) for kind in (found, *bases)):
        return
    told = set().union(*map(_attributes, (found, *bases))) | {name for base in bases for name in base.members}
    for name, member in found.members.items():
        if not (name.startswith("_") or name in told | _OF_PYDANTIC or isinstance(member, griffe.Alias)):
            yield from undocumented(member)


def _is_typed_dict(found: griffe.Object) -> bool:
    return isinstance(found, griffe.Class) and "TypedDict" in map(str, found.bases)


def _attributes(found: griffe.Object) -> set[str]:
    """The attributes and fields that a class's own docstring tells of."""
    sections = found.docstring.parse("google", warnings=False) if found.docstring else []
    kinds = (griffe.DocstringSectionAttributes, griffe.DocstringSectionParameters)
    return {item.name for section in sections if isinstance(section, kinds) for item in section.value}


def _public(module: griffe.Object) -> list[str]:
    own = [name for name, member in module.members.items() if not member.is_alias and not member.is_attribute]
    return [name for name in map(str, module.exports or own) if not name.startswith("_")]


def _load(name: str) -> griffe.Object:
    """An object, by the path that its users import it from."""
    found = _loaded()[name]
    return found.final_target if isinstance(found, griffe.Alias) else found


@cache
def _loaded() -> griffe.ModulesCollection:
    loader = griffe.GriffeLoader(search_paths=PACKAGES)
    for package in ("deepen_llm", "langchain_deepen", "llama_index.llms.deepen"):
        loader.load(package)
    return loader.modules_collection


def _relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _text(output: dict[str, Any]) -> str:
    """What a cell's output shows as plain text."""
    return "".join(output["text"] if "text" in output else output.get("data", {}).get("text/plain", ()))
