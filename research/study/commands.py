"""The command line of a recipe: ``train`` and ``measure``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch


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
