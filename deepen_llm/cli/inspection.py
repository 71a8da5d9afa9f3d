"""``deepen inspect``: members, what their tokenizers have in common, and whether fusing them helps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepen_llm.cli.members import MemberOptions
from deepen_llm.cli.signatures import with_options
from deepen_llm.cli.terminal import errors, note, quiet_libraries, write
from deepen_llm.cli.threads import run_small_on_one_thread
from deepen_llm.errors import ConfigError

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig
    from deepen_llm.diagnostics.anchor_comparison import AnchorComparison
    from deepen_llm.diagnostics.comparison import Comparison
    from deepen_llm.members.local.member import LocalMember
    from deepen_llm.tuning.answered import MemberAnswers
    from deepen_llm.tuning.dataset import Examples


@with_options(MemberOptions)
def inspect(
    options: MemberOptions,
    dataset: Annotated[
        Path | None,
        typer.Option(help="JSON lines as deepen tune reads them: ask each member alone, for a verdict."),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Read each prompt of the dataset as a user's message.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="How good an answer is: exact_match, contains, f1, accuracy, accuracy_per_byte."),
    ] = None,
    anchors: Annotated[
        bool, typer.Option("--anchors", help="Show how alike members see shared anchors, for bayes and deepen.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=2, help="With --anchors or --plot: the most anchors that are compared.")
    ] = 512,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw pictures: into this folder, or those of anchors on one page in a .png, .svg or .pdf."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Show members, what their tokenizers have in common and, with a dataset, whether they are worth fusing.

    Without --member and --config, the bundled specialists.
    """
    with errors.status("Starting..."):
        from deepen_llm import specialists
        from deepen_llm.diagnostics.anchor_comparison import compare_anchors
        from deepen_llm.diagnostics.comparison import compare
        from deepen_llm.members.local.loading import load_members

    if not options.member and options.config is None:
        options = replace(options, member=[str(path) for path in specialists.paths()])
    configuration = options.configuration()
    examples = _examples(dataset, chat, metric)
    if plot:
        _require_plot(plot, len(configuration.members))
    quiet_libraries()
    with errors.status(f"Loading {len(configuration.members)} members..."):
        members = load_members(configuration.members)
    run_small_on_one_thread(members)
    answered = _answers(members, examples, metric, configuration) if examples else None
    with errors.status("Comparing..."):
        comparisons = compare(members, answered)
        anchored = compare_anchors(members, sample=sample) if anchors or plot else []
    if plot:
        with errors.status("Drawing..."):
            _draw(members, comparisons, anchored, sample, plot)
    described = [describe(member, answered[member.name] if answered else None) for member in members]
    shown = anchored if anchors else []
    if as_json:
        from deepen_llm.cli.records import finite

        record = {
            "members": described,
            "comparisons": [comparison.record() for comparison in comparisons],
            "anchors": [comparison.record() for comparison in shown],
        }
        write(json.dumps(finite(record), allow_nan=False) + "\n")
    else:
        from deepen_llm.cli.inspection_tables import show

        show(described, comparisons, shown)


def _examples(dataset: Path | None, chat: bool, metric: str | None) -> Examples | None:
    """Read and check examples before models are loaded."""
    if dataset is None:
        if chat or metric:
            raise ConfigError(
                f"expected --dataset with {'--chat' if chat else '--metric'}, got none", hint="give --dataset dev.jsonl"
            )
        return None
    from deepen_llm.tuning.dataset import check_set, read_examples
    from deepen_llm.tuning.metrics import Measure

    examples = read_examples(dataset, chat=chat)
    check_set(examples)
    Measure.of(metric, examples)
    return examples


def _answers(
    members: Sequence[LocalMember], examples: Examples, metric: str | None, configuration: EnsembleConfig
) -> dict[str, MemberAnswers]:
    """Answer the examples with each member alone, with the configured generation options."""
    from deepen_llm.tuning.answered import ask

    with errors.status(f"Asking each member {len(examples)} examples..."):
        return ask(
            members,
            examples,
            metric=metric,
            generation=configuration.generation,
            batch_size=configuration.batch_size,
        )


def _require_plot(where: Path, members: int) -> None:
    """Check that pictures can be drawn, before models are loaded."""
    from deepen_llm.diagnostics import pictures

    if where.suffix:
        pictures.require_ending(where)
    if members < 2:
        raise ConfigError("expected at least two members for --plot, got one", hint="give two members or more")


def _draw(
    members: Sequence[LocalMember],
    comparisons: Sequence[Comparison],
    anchored: Sequence[AnchorComparison],
    sample: int,
    where: Path,
) -> None:
    """Write the pictures of some members into a folder, or onto one page."""
    from deepen_llm.diagnostics import pictures
    from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, self_masses

    projection = pictures.project(members)
    spaces = {"paper": PAPER, "calibrated": CALIBRATED}
    masses = {name: self_masses(members, space, sample=sample) for name, space in spaces.items()}
    if where.suffix:
        drawn = {where: pictures.draw_overview(projection, anchored, masses)}
    else:
        drawn = {
            where / "representations.png": pictures.draw_representations(projection),
            where / "consistency.png": pictures.draw_consistency(anchored),
            where / "self-mass.png": pictures.draw_self_mass(masses, projection.members),
        }
        if all(comparison.overlap for comparison in comparisons):
            drawn[where / "gains.png"] = pictures.draw_gains(comparisons)
    for file, picture in drawn.items():
        pictures.save(picture, file)
        note(f"drawn: {file}")


def describe(member: LocalMember, answered: MemberAnswers | None = None) -> dict[str, Any]:
    """Describe a member, with its accuracy and confidence if it has answers."""
    from deepen_llm.vocabulary.kinds import find_kind

    vocabulary = member.vocabulary
    return {
        "name": member.name,
        "architecture": type(member.model).__name__,
        "parameters": sum(parameter.numel() for parameter in member.model.parameters()),
        "dtype": str(member.model.dtype).removeprefix("torch."),
        "vocabulary": vocabulary.tokenizer_size,
        "logits": vocabulary.size,
        "tokenizer": find_kind(member.tokenizer).name,
        "end_of_text": [
            {"id": id_, "token": member.tokenizer.convert_ids_to_tokens(id_)} for id_ in vocabulary.end_of_text
        ],
        "context_length": member.context_length,
        "chat_template": bool(member.tokenizer.chat_template),
        "right": answered and answered.share,
        "sure_when_right": answered and answered.sureness(right=True),
        "sure_when_wrong": answered and answered.sureness(right=False),
    }
