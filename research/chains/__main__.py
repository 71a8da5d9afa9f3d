"""``python -m research.chains``: train three members, and measure their long answers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from deepen_llm.demo.long_answers.measure import MAX_TOKENS
from deepen_llm.demo.long_answers.questions import COUNTS, Split, questions
from research.chains import training
from research.chains.measure import Answers, answered, load
from research.chains.members import MEMBERS
from research.chains.settings import Setting, crossed
from research.chains.tables import Row, markdown, row
from research.study.commands import Command, add_training, run, scheduled


def main(arguments: list[str] | None = None) -> None:
    """Run a command line.

    Args:
        arguments: The arguments; None for those of the process.
    """
    commands = {
        "train": Command("train the three members, one after another", _training, _train),
        "measure": Command("let ensembles answer, and write what came of it", _measuring, _measure),
    }
    run("research.chains", __doc__, commands, arguments)


def measure(
    models: Path,
    out: Path,
    settings: Sequence[Setting],
    split: Split = "development",
    count: int | None = None,
    **options: int,
) -> None:
    """Measure settings, and write the results as JSON and, beside it, as a table in Markdown.

    Args:
        models: The folder of the trained members.
        out: The file of JSON lines; the table has the same name, with ``.md``. Both are written after each setting.
        settings: The settings to measure; the first one of each main model is the baseline.
        split: The questions; settings are chosen on ``development`` only.
        count: The number of questions, from the first on; all by default.
        **options: See `answered`.
    """
    members, chains = load(models), questions(split)[:count]
    rows, first = list[Row](), dict[str, Answers]()
    out.parent.mkdir(parents=True, exist_ok=True)
    for setting in settings:
        answers = answered(members, setting, chains, **options)
        rows.append({"split": split, **row(chains, answers, first.setdefault(setting.main, answers))})
        out.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
        out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def _train(options: argparse.Namespace) -> None:
    training.make(options.out, options.only, scheduled(options, training.SCHEDULE))


def _measure(options: argparse.Namespace) -> None:
    settings = crossed(options.main, options.fusion, options.gate, options.weights)
    asked = options.split, options.questions
    measure(options.models, options.out, settings, *asked, batch_size=options.batch_size, max_tokens=options.max_tokens)


def _training(parser: argparse.ArgumentParser) -> None:
    add_training(parser, MEMBERS, training.SCHEDULE, documents="--texts")


def _measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, required=True, help="what train made")
    parser.add_argument("--out", type=Path, required=True, help="a .jsonl file; the table goes beside it, as .md")
    parser.add_argument("--split", choices=list(COUNTS), default="development", help="test: to report, never to choose")
    parser.add_argument("--questions", type=int, help="how many, from the first on; all by default")
    parser.add_argument("--main", nargs="+", choices=list(MEMBERS), default=list(MEMBERS), help="main models")
    parser.add_argument("--fusion", nargs="*", default=["bayes"], help='names, or YAML: "{method: bayes, rounds: 1}"')
    parser.add_argument("--gate", nargs="+", default=["always"], help='names, or YAML: "{when: unsure, below: 0.8}"')
    parser.add_argument(
        "--weights", nargs="+", default=["equal"], help='equal, prompt, entropy, track, or YAML: "[2, 1, 1]"'
    )
    parser.add_argument("--batch-size", type=int, default=16, help="how many are decoded together")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="the longest answer")


if __name__ == "__main__":
    main()
