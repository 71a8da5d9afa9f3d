"""Runs the notebooks from top to bottom and keeps what they print; with ``--check``, compares it instead."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent


def execute(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of a fresh run.

    Args:
        notebook: The notebook; it is left as it is.

    Raises:
        CellExecutionError: A cell fails.
    """
    made: NotebookNode = nbformat.from_dict(notebook)
    NotebookClient(made, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # progress bars
    made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return made


def said(notebook: NotebookNode) -> list[str]:
    """All lines that the code prints or shows, with the number of the cell."""
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            lines += [f"[{number}] {line}" for line in text.splitlines()]
    return lines


def main() -> int:
    """Run the notebooks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the outputs kept, and keep nothing")
    given = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    differences: list[str] = []
    for file in given.notebooks or sorted(FOLDER.glob("*.ipynb")):
        before = nbformat.read(file, as_version=4)
        after = execute(before)
        if given.check:
            differences += difflib.unified_diff(
                said(before), said(after), f"{file} (kept)", f"{file} (now)", "", "", 0, ""
            )
        else:
            nbformat.write(after, file)
    print("\n".join(differences))
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())
