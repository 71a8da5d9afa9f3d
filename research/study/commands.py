"""The command line of a recipe: ``train`` and ``measure``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from research.specialists.batches import Schedule


class Command(NamedTuple):
    """A command.

    Attributes:
        description: The description in the help.
        options: Adds its options to a parser.
        run: Runs it.
    """

    description: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def run(module: str, about: str | None, commands: Mapping[str, Command], arguments: list[str] | None) -> None:
    """Run a command line on one thread, since the models are small.

    Args:
        module: The name of the module.
        about: The description of the program.
        commands: The commands by name.
        arguments: The arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parsers = parser.add_subparsers(dest="command", required=True)
    for name, command in commands.items():
        command.options(parsers.add_parser(name, help=command.description))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        commands[options.command].run(options)
    finally:
        torch.set_num_threads(threads)


def add_training(parser: argparse.ArgumentParser, members: Iterable[str], schedule: Schedule, documents: str) -> None:
    """Add the options of a training, such as `scheduled` reads them.

    Args:
        parser: The parser of the command.
        members: The names to choose from.
        schedule: The defaults.
        documents: The option's name for the number of documents that a vocabulary is made from.
    """
    parser.add_argument("--out", type=Path, required=True, help="gets a folder for each")
    parser.add_argument("--only", nargs="+", choices=list(members), default=list(members))
    parser.add_argument("--steps", type=int, default=schedule.steps)
    parser.add_argument("--batch", type=int, default=schedule.batch, help="tokens in a step")
    parser.add_argument(
        documents, dest="documents", type=int, default=schedule.documents, help="what a vocabulary is made from"
    )
    parser.add_argument("--seed", type=int, default=schedule.seed)


def scheduled(options: argparse.Namespace, schedule: Schedule) -> Schedule:
    """The schedule with the options of a command line."""
    return replace(schedule, steps=options.steps, batch=options.batch, documents=options.documents, seed=options.seed)
