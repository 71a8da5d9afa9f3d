"""``python -m research.study``: train the generalists, measure everything, write tables and pictures."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deepen_llm import specialists
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_members
from research.study import generalists
from research.study.document import filled
from research.study.lab import Lab
from research.study.questions import asked_in_dev, asked_in_test
from research.study.suite import TABLES

_LOG = logging.getLogger("research.study")


def main(arguments: list[str] | None = None) -> None:
    """Run a command line.

    Args:
        arguments: The arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m research.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the four generalists")
    training.add_argument("--out", type=Path, required=True, help="gets a folder for each")
    training.add_argument("--only", nargs="+", choices=list(generalists.GENERALISTS), default=None)
    training.add_argument("--jobs", type=int, default=2, help="how many to train at a time, a core each")
    measuring = commands.add_parser("measure", help="measure, and write study.json, study.md and the pictures")
    measuring.add_argument("--models", type=Path, required=True, help="what train made; also recordings")
    measuring.add_argument("--out", type=Path, required=True, help="the folder of study.md")
    measuring.add_argument("--only", nargs="+", choices=list(TABLES), default=None, help="measure these tables anew")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.command == "train":
        generalists.make(options.out, options.only or list(generalists.GENERALISTS), jobs=options.jobs)
    else:
        measure(options.models, options.out, options.only)


def measure(models: Path, out: Path, only: list[str] | None = None) -> None:
    """Measure tables, and write the document and the pictures.

    Args:
        models: A folder with a checkpoint for each generalist.
        out: The folder of ``study.md``, ``study.json`` and the pictures.
        only: The tables to measure; all by default. The others are not changed.
    """
    lab, file = open_lab(models), out / "study.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in only or TABLES:
        started = time.perf_counter()
        results[name] = TABLES[name](lab)
        file.write_text(_json({name: results[name] for name in TABLES if name in results}), encoding="utf-8")
        _LOG.info("%s took %.0f s", name, time.perf_counter() - started)
    write(out)


def write(out: Path) -> None:
    """Write the tables of ``study.md`` and the pictures from ``study.json``.

    Args:
        out: Their folder.
    """
    from research.study.plots import draw

    results = json.loads((out / "study.json").read_text(encoding="utf-8"))
    document = out / "study.md"
    if document.exists():
        document.write_text(filled(document.read_text(encoding="utf-8"), results), encoding="utf-8")
    draw(results, out)


def open_lab(models: Path) -> Lab:
    """Make the lab of all seven members and the questions; recordings are stored beside the generalists."""
    torch.set_num_threads(1)
    paths = [*(models / name for name in generalists.GENERALISTS), *specialists.paths()]
    members = load_members([MemberConfig(path=str(path), device="cpu") for path in paths])
    asked = {"dev": asked_in_dev(), "test": asked_in_test(), "once": asked_in_test(wordings=1)}
    return Lab({member.name: member for member in members}, asked, models / "recordings", models / "chains")


def _json(results: Mapping[str, Any]) -> str:
    """Format one line per row, for readable diffs."""
    tables = []
    for name, table in results.items():
        rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in table["rows"])
        head = json.dumps({key: value for key, value in table.items() if key != "rows"}, ensure_ascii=False)
        tables.append(f'"{name}": {head[:-1]}, "rows": [\n  {rows}]}}')
    return "{\n" + ",\n".join(tables) + "\n}\n"


if __name__ == "__main__":
    main()
