"""Runs the notebooks from top to bottom and keeps what they print; with ``--check``, compares it instead.

What is kept comes from a fresh kernel each; what is checked, from one that forgets every name between two notebooks.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent


def execute(notebook: NotebookNode, kernel: AsyncKernelManager | None = None) -> NotebookNode:
    """The notebook with the outputs of a fresh run.

    Args:
        notebook: The notebook; it is left as it is.
        kernel: Where to run it, started if it is not; it forgets its names first. None for a kernel of its own.

    Raises:
        CellExecutionError: A cell fails.
    """
    made: NotebookNode = nbformat.from_dict(notebook)
    if kernel is not None:
        made.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    place = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(made, km=kernel, timeout=300, kernel_name="python3", resources=place).execute()
    made.cells = made.cells[kernel is not None :]
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            shown = [output for output in cell.outputs if output.get("name") != "stderr"]  # without progress bars
            cell.outputs = joined(shown)
    made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return made


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The outputs of a cell, with printed texts that follow each other as one: the kernel splits them by time.

    Args:
        outputs: The outputs; their texts are changed.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if kept and output.output_type == "stream" and output.get("name") == kept[-1].get("name"):
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


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
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")  # the models are tiny
    files = given.notebooks or sorted(FOLDER.glob("*.ipynb"))
    if not given.check:
        for file in files:
            nbformat.write(execute(nbformat.read(file, as_version=4)), file)
        return 0
    differences = check(files)
    print("\n".join(differences))
    return bool(differences)


def check(files: Iterable[Path]) -> list[str]:
    """What the notebooks print otherwise than they have kept, as lines of a difference."""
    kernel, differences = AsyncKernelManager(kernel_name="python3"), list[str]()
    try:
        for file in files:
            before = nbformat.read(file, as_version=4)
            after = execute(before, kernel)
            differences += difflib.unified_diff(
                said(before), said(after), f"{file} (kept)", f"{file} (now)", "", "", 0, ""
            )
    finally:
        run_sync(kernel.shutdown_kernel)(now=True)
    return differences


if __name__ == "__main__":
    sys.exit(main())
