"""``python -m research.given``: train four members, and measure the likelihood of given text."""

from __future__ import annotations

import argparse
from pathlib import Path

from research.given import training
from research.given.measure import ENSEMBLES, measure
from research.given.members import MEMBERS
from research.given.texts import PARTS, texts
from research.study.commands import Command, add_training, run, scheduled


def main(arguments: list[str] | None = None) -> None:
    """Run a command line.

    Args:
        arguments: The arguments; None for those of the process.
    """
    commands = {
        "train": Command("train the four members, one after another", _training, _train),
        "measure": Command("score pieces that none of them read, and write what came of it", _measuring, _measure),
    }
    run("research.given", __doc__, commands, arguments)


def _train(options: argparse.Namespace) -> None:
    training.make(options.out, texts(options.texts), options.only, scheduled(options, training.SCHEDULE))


def _measure(options: argparse.Namespace) -> None:
    asked = options.ensembles, options.fusion, options.weights
    measure(options.models, options.out, texts(options.texts), *asked, which=options.part, count=options.pieces)


def _training(parser: argparse.ArgumentParser) -> None:
    add_training(parser, MEMBERS, training.SCHEDULE, documents="--pieces")
    _texts(parser)


def _measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, required=True, help="what train made")
    parser.add_argument("--out", type=Path, required=True, help="a .jsonl file; the table goes beside it, as .md")
    _texts(parser)
    parser.add_argument("--part", choices=PARTS[1:], default="development", help="test: only to report")
    parser.add_argument("--pieces", type=int, default=100, help="of each field")
    parser.add_argument("--ensembles", nargs="+", default=list(ENSEMBLES), help="the main model first: A+B, D+ABC")
    parser.add_argument("--fusion", nargs="*", default=["surface"], help='names, or YAML: "{method: bayes, rounds: 1}"')
    parser.add_argument("--weights", nargs="+", default=["equal"], help='equal, entropy, or YAML: "[2, 1]"')


def _texts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=Path, help="a file or folder for each field; without it, texts of Python's own")


if __name__ == "__main__":
    main()
